"""What owners said of their archives, each with its position: preferences and activations.

A short history for each owner, not a last value: a message is judged by what was said before it,
also when it is processed late, or again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from archive.event import VERSION, Activation, Preferences
from archive.store import Store

State = Preferences | Activation
History = Sequence[State]
"""States of one owner, oldest first."""

MAX_STATES = 1000
"""States of one owner that count: the newest ones."""

_PART = "_preferences"
_OWNERS = 5000
"""Owners in one statement."""


class _Row(NamedTuple):
    owner: str
    position: int
    policy: str
    always: tuple[str, ...]
    never: tuple[str, ...]


class Histories:
    """All histories, in the store. Its calls block.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, states: Iterable[State]) -> None:
        """Add states; they are readable when this returns, and a repeat is the same state.

        Raises:
            StoreUnavailable: They may or may not be written: write them again.
        """
        rows = [_row(state) for state in states]
        if rows:
            self._store.insert(rows, _PART)

    def read(self, owners: Collection[str]) -> Mapping[str, History]:
        """Give the history of each owner; an owner who said nothing has an empty one.

        Raises:
            StoreUnavailable: The store did not answer this time.
        """
        histories: dict[str, History] = dict.fromkeys(owners, ())
        for some in _pieces(sorted(owners)):
            histories.update(self._read(some))
        return histories

    def _read(self, owners: Sequence[str]) -> Mapping[str, History]:
        rows = self._store.select(
            f"""
            SELECT DISTINCT owner, position, policy, always, never
            FROM {self._store.table}{_PART}
            WHERE owner IN {{owners:Array(String)}}
            ORDER BY owner, position DESC LIMIT {MAX_STATES} BY owner""",  # noqa: S608  # an identifier
            {"owners": owners},
        )
        grouped = groupby((_state(_Row(*row)) for row in rows), key=lambda state: state.owner)
        return {owner: tuple(states)[::-1] for owner, states in grouped}


def _pieces(owners: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(owners), _OWNERS):
        yield owners[start : start + _OWNERS]


def _row(state: State) -> _Row:
    if isinstance(state, Activation):
        return _Row(state.owner, state.position, "", (), ())
    return _Row(state.owner, state.position, state.default, state.always, state.never)


def _state(row: _Row) -> State:
    if not row.policy:
        return Activation(v=VERSION, owner=row.owner, position=row.position)
    return Preferences(
        v=VERSION,
        owner=row.owner,
        position=row.position,
        default=row.policy,  # type: ignore[arg-type]  # the column holds what _row wrote
        always=tuple(row.always),
        never=tuple(row.never),
    )

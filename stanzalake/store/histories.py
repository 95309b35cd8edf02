"""What was said of archives, each with its position: preferences, activations and erasures.

A short history for each owner, not a last value: a message is judged by what was said before it,
also when it is processed late, or again, and by every erasure.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from stanzalake.model.event import VERSION, Activation, Erasure, Preferences
from stanzalake.model.history import MAX_STATES, ArchiveState, History, OwnerState, merge
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store
from stanzalake.store.erasures import Erasures

PART = "_preferences"


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
        self._erasures = Erasures(store)

    def write(self, states: Iterable[ArchiveState]) -> None:
        """Add states; they are readable when this returns, and a repeat is the same state.

        Raises:
            StoreUnavailable: They may or may not be written: write them again.
        """
        states = list(states)
        self._erasures.write(state for state in states if isinstance(state, Erasure))
        rows = [_row(state) for state in states if not isinstance(state, Erasure)]
        if rows:
            self._store.insert(rows, PART)

    def read(self, owners: Collection[str]) -> Mapping[str, History]:
        """Give the history of each owner; an owner who said nothing has an empty one.

        Raises:
            StoreUnavailable: The store did not answer this time.
        """
        histories: dict[str, History] = dict.fromkeys(owners, ())
        for some in chunks(sorted(owners), str):
            histories.update(self._read(some))
        for owner, erasures in self._erasures.read(owners).items():
            histories[owner] = merge(histories[owner], erasures)
        return histories

    def _read(self, owners: Sequence[str]) -> Mapping[str, History]:
        rows = self._store.select(
            f"""
            SELECT DISTINCT owner, position, policy, always, never
            FROM {self._store.table}{PART}
            WHERE owner IN {{owners:Array(String)}}
            ORDER BY owner, position DESC LIMIT {MAX_STATES} BY owner""",  # noqa: S608  # an identifier
            {"owners": owners},
        )
        grouped = groupby((_state(_Row(*row)) for row in rows), key=lambda state: state.owner)
        return {owner: tuple(states)[::-1] for owner, states in grouped}


def _row(state: OwnerState) -> _Row:
    if isinstance(state, Activation):
        return _Row(state.owner, state.position, "", (), ())
    return _Row(state.owner, state.position, state.default, state.always, state.never)


def _state(row: _Row) -> OwnerState:
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

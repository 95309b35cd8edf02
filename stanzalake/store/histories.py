"""Owner histories in the store: preferences, activations and erasures by position.

A history per owner instead of the last value: policy judges a message by the states before its
position, also on a late or repeated run, and by every erasure.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from stanzalake.model.event import VERSION, Activation, Erasure, Preferences
from stanzalake.model.history import MAX_STATES, ArchiveState, History, OwnerState, merge
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store
from stanzalake.store.erasures import Erasures

SUFFIX = "_preferences"
_NEWEST = """
SELECT DISTINCT owner, position, policy, always, never FROM {preferences:Identifier}
WHERE owner IN {owners:Array(String)}
ORDER BY owner, position DESC LIMIT {limit:UInt64} BY owner"""


class _Row(NamedTuple):
    owner: str
    position: int
    policy: str
    always: tuple[str, ...]
    never: tuple[str, ...]


class Histories:
    """Reader and writer of owner histories. All calls block.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._erasures = Erasures(store)

    def write(self, states: Iterable[ArchiveState]) -> None:
        """Insert states, readable on return. Idempotent.

        Raises:
            StoreUnavailable: Outcome unknown; write again.
        """
        states = list(states)
        self._erasures.write(state for state in states if isinstance(state, Erasure))
        rows = [_row(state) for state in states if not isinstance(state, Erasure)]
        if rows:
            self._store.insert(rows, SUFFIX)

    def read(self, owners: Collection[str]) -> Mapping[str, History]:
        """Return the history of each owner, empty for an owner without states.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        histories: dict[str, History] = dict.fromkeys(owners, ())
        for some in chunks(sorted(owners), str):
            histories.update(self._read(some))
        for owner, erasures in self._erasures.read(owners).items():
            histories[owner] = merge(histories[owner], erasures)
        return histories

    def _read(self, owners: Sequence[str]) -> Mapping[str, History]:
        rows = self._store.select(_NEWEST, {"owners": owners, "limit": MAX_STATES})
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

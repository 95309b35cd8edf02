"""Owner histories in the store: preferences, activations and erasures by position.

A history per owner instead of the last value: policy judges a message by the states before its
position, also on a late or repeated run, and by every erasure.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from stanzalake.errors import ResultTooLarge
from stanzalake.model.event import VERSION, Activation, Erasure, Preferences
from stanzalake.model.history import (
    JID_BYTES,
    MAX_BYTES,
    MAX_STATES,
    STATE_BYTES,
    ArchiveState,
    History,
    OwnerState,
    merge,
    size,
)
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store
from stanzalake.store.erasures import Erasures

SUFFIX = "_preferences"
MAX_READ = 16 * 1024 * 1024
"""Bytes of a single read of histories, as `model.history.size` counts them."""

_NEWEST = """
SELECT DISTINCT owner, position, policy, always, never FROM {preferences:Identifier}
WHERE owner IN {owners:Array(String)} AND (owner, position) IN (
    SELECT owner, position FROM (
        SELECT owner, position, sum(bytes) OVER newest AS total,
            countIf(is_preferences) OVER newest - is_preferences AS newer_preferences
        FROM (
            SELECT DISTINCT owner, position, policy != '' AS is_preferences, {state_bytes:UInt64}
                + arraySum(jid -> length(jid) + {jid_bytes:UInt64}, arrayConcat(always, never))
                AS bytes
            FROM {preferences:Identifier} WHERE (owner, position) IN (
                SELECT owner, position FROM {preferences:Identifier}
                WHERE owner IN {owners:Array(String)}
                GROUP BY owner, position ORDER BY owner, position DESC LIMIT {limit:UInt64} BY owner
            )
        )
        WINDOW newest AS (PARTITION BY owner ORDER BY position DESC ROWS UNBOUNDED PRECEDING)
    )
    WHERE total <= {max_bytes:UInt64} OR newer_preferences = 0
)
ORDER BY owner, position DESC
"""
_BEFORE = """
SELECT owner, position, policy, always, never FROM {preferences:Identifier}
WHERE owner = {owner:String} AND position < {position:UInt64}
ORDER BY policy != '' DESC, position DESC LIMIT 1"""
_FOLLOWING = """
SELECT min(position) FROM {preferences:Identifier}
WHERE owner = {owner:String} AND position >= {position:UInt64}"""
_LIMITS = {
    "limit": MAX_STATES,
    "max_bytes": MAX_BYTES,
    "state_bytes": STATE_BYTES,
    "jid_bytes": JID_BYTES,
}
_BOUND = f"SETTINGS max_result_bytes = {MAX_READ}, result_overflow_mode = 'throw'"


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
            ResultTooLarge: More than MAX_READ bytes, of several owners: read fewer at a time.
        """
        histories: dict[str, History] = dict.fromkeys(owners, ())
        total = 0
        for some in chunks(sorted(owners), str):
            read = self._read(some)
            total += sum(size(state) for states in read.values() for state in states)
            if total > MAX_READ and len(owners) > 1:
                raise ResultTooLarge(f"{total} bytes of histories at a time")
            histories.update(read)
        for owner, erasures in self._erasures.read(owners).items():
            histories[owner] = merge(histories[owner], erasures)
        return histories

    def before(self, owner: str, position: int) -> tuple[OwnerState | None, int]:
        """Return an owner's newest preferences before a position, else an activation, if any.

        Returns:
            The state, and the position of the next one; 0 if there is none.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        parameters = {"owner": owner, "position": position}
        rows = [_Row(*row) for row in self._store.select(_BEFORE, parameters)]
        [(following,)] = self._store.select(_FOLLOWING, parameters)
        return _state(rows[0]) if rows else None, int(following)

    def _read(self, owners: Sequence[str]) -> Mapping[str, History]:
        rows = self._store.select(_NEWEST + _BOUND, {"owners": owners, **_LIMITS})
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

"""Own retention: for how long owners want their messages kept, at most as long as their host.

The view ``..._hidden``, which every reader looks at, holds the ranges that it hides now.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from stanzalake.model.event import Erasure, OwnRetention
from stanzalake.model.position import from_milliseconds
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store
from stanzalake.store.erasures import touch
from stanzalake.store.statement import MESSAGES, select

SUFFIX = "_own_retention"

_CHOICES = "{own_retention:Identifier} FINAL"
_HORIZONS = "{own_horizons:Identifier}"
_OF_OWNERS = ["owner IN {owners:Array(String)}"]
_DUE_OWNERS = 2000

WITH_OWN_HORIZON = (
    f"{MESSAGES} LEFT ANY JOIN ({select('owner, horizon', source=_HORIZONS)}) AS own USING (owner)"
)
"""Source of messages with ``own.horizon``, which is 0 for owners without a choice."""

_DUE = select(
    "owner, max(own.horizon)",
    [f"owner IN ({select('owner', source=_HORIZONS)})", "position < own.horizon"],
    f"GROUP BY owner LIMIT {_DUE_OWNERS}",
    WITH_OWN_HORIZON,
)


class OwnHorizon(NamedTuple):
    """The own retention of an owner, as of now.

    Attributes:
        position: Position of the choice.
        seconds: Seconds for which messages are kept; 0: as long as the host keeps them.
        horizon: Lowest position that is kept.
    """

    position: int
    seconds: int
    horizon: int


class _Row(NamedTuple):
    owner: str
    position: int
    seconds: int
    horizon: int
    asked_by: str

    def replace_by(self, change: OwnRetention | Erasure) -> "_Row":
        """Return the row after a change; an erasure is of the account, which takes its choice."""
        if isinstance(change, Erasure):
            return _Row(change.owner, change.position, 0, 0, change.by)
        period = from_milliseconds(1000 * self.seconds)
        hidden = max(0, change.position - period) if self.seconds else 0
        horizon = max(self.horizon, hidden)
        return _Row(change.owner, change.position, change.seconds, horizon, change.by)


class OwnRetentions:
    """Reader and writer of own retentions. All calls block.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, changes: Iterable[OwnRetention | Erasure]) -> None:
        """Write changes, heeded by every reader on return. Idempotent, in any order.

        Args:
            changes: Choices of owners, and removals of accounts.

        Raises:
            StoreUnavailable: Outcome unknown; write again.
        """
        ordered = sorted(changes, key=lambda change: change.position)
        rows = self._rows({change.owner for change in ordered})
        written: dict[str, _Row] = {}
        for change in ordered:
            row = rows.get(change.owner, _Row(change.owner, -1, 0, 0, ""))
            # Of a replay, or of a worker that was given up.
            if row.position < change.position:
                rows[change.owner] = written[change.owner] = row.replace_by(change)
        if written:
            self._store.insert(list(written.values()), SUFFIX)
            now_hidden = self.read(written)
            touch(self._store, [(owner, 0, own.horizon) for owner, own in now_hidden.items()])

    def read(self, owners: Collection[str]) -> Mapping[str, OwnHorizon]:
        """Return the own retention of each owner with a choice; raises as `write`."""
        columns = "owner, position, seconds, horizon"
        found = self._select(columns, owners, _HORIZONS)
        return {owner: OwnHorizon(*row) for owner, *row in found}

    def periods(self) -> Sequence[int]:
        """Return all periods that owners have chosen, in seconds; raises as `write`."""
        rows = self._store.select(select("DISTINCT seconds", ["seconds > 0"], source=_HORIZONS))
        return [seconds for (seconds,) in rows]

    def due(self) -> Mapping[str, int]:
        """Return the horizon of owners with older messages on the disk, some owners at a time.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        rows = self._store.select(_DUE)
        return {owner: horizon for owner, horizon in rows}  # noqa: C416  # rows are no pairs to mypy

    def _rows(self, owners: Collection[str]) -> dict[str, _Row]:
        found = self._select(", ".join(_Row._fields), owners, _CHOICES)
        return {row[0]: _Row(*row) for row in found}

    def _select(
        self, columns: str, owners: Collection[str], source: str
    ) -> Sequence[Sequence[Any]]:
        statement = select(columns, _OF_OWNERS, source=source)
        return [
            row
            for some in chunks(sorted(owners), str)
            for row in self._store.select(statement, {"owners": some})
        ]

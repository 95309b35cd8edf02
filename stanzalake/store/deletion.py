"""Removal of expired, erased and retracted content from the disk, by mutations in the background.

Readers hide such content at once, whatever is on the disk. A mutation rewrites the parts that hold
them, and ClickHouse deletes the replaced parts `old_parts_lifetime` (a minute) later.
https://clickhouse.com/docs/sql-reference/statements/alter/delete
"""

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from stanzalake.config.settings import Settings
from stanzalake.errors import StoreUnavailable
from stanzalake.model.event import Erasure
from stanzalake.model.history import in_force
from stanzalake.model.position import seconds_ago, to_milliseconds
from stanzalake.model.retention import FOREVER, Retention
from stanzalake.store import histories
from stanzalake.store.changes import Changes
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store
from stanzalake.store.erasures import VISIBLE, Erasures, touch_positions
from stanzalake.store.migrations import Target
from stanzalake.store.own_retention import SUFFIX as _OWN_RETENTION
from stanzalake.store.own_retention import WITH_OWN_HORIZON, OwnRetentions
from stanzalake.store.retention import RetentionRecord, horizon
from stanzalake.store.statement import MESSAGES, NO_PRESENCE, select
from stanzalake.store.tombstones import SUFFIX as _TOMBSTONES
from stanzalake.store.tombstones import RetractedMessage, Tombstones

log = logging.getLogger(__name__)

_PREFERENCES = histories.SUFFIX
# The owners use the primary key; the other conditions are evaluated for their rows only.
_ERASED = """owner IN {owners:Array(String)} AND arrayExists(
    (of, low, high, by) ->
        owner = of AND position >= low AND position < high AND (by = '' OR by = peer),
    {owners:Array(String)}, {lows:Array(UInt64)}, {highs:Array(UInt64)}, {peers:Array(String)})"""
_ENDED = """owner IN {owners:Array(String)} AND arrayExists(
    (of, high) -> owner = of AND position < high, {owners:Array(String)}, {highs:Array(UInt64)})"""
_REPLACE = """
UPDATE stanza = {stanzas:Array(String)}[arrayFirstIndex(
    (of, at) -> owner = of AND position = at, {owners:Array(String)}, {positions:Array(UInt64)})]
WHERE owner IN {owners:Array(String)} AND arrayExists(
    (of, at) -> owner = of AND position = at, {owners:Array(String)}, {positions:Array(UInt64)})"""
_SOURCES = {
    "": MESSAGES,
    _PREFERENCES: "{preferences:Identifier}",
    _TOMBSTONES: "{tombstones:Identifier}",
    _OWN_RETENTION: "{own_retention:Identifier}",
}
_ASYNCHRONOUS = "SETTINGS mutations_sync = 0"
_SUMMARY = f"countIf({NO_PRESENCE}), min(position), max(position), countIf(NOT {NO_PRESENCE})"
_OF_TABLES = "database = currentDatabase() AND table IN {tables:Array(String)}"
_CODE = re.compile(r"Code: (\d+).*\(([A-Z_]+)\)", re.DOTALL)


class MessageSummary(NamedTuple):
    """A number of messages and of presences, and their range.

    Attributes:
        messages: Number of messages.
        first: Position of the first message or presence; 0 without any.
        last: Position of the last; 0 without any.
        presences: Number of presences of a room's occupants.
    """

    messages: int
    first: int
    last: int
    presences: int

    @property
    def total(self) -> int:
        """Number of messages and presences."""
        return self.messages + self.presences

    def describe(self, adjective: str = "") -> str:
        """Return the numbers as text; rooms without presences, and accounts, have none to name."""
        presences = f" and {self.presences:,} presences" if self.presences else ""
        return f"{self.messages:,} {adjective}messages{presences}"


_NO_MESSAGES = MessageSummary(0, 0, 0, 0)


class Part(NamedTuple):
    """A part of a table on the disk of a server."""

    host: str
    table: str
    name: str


class _Rows(NamedTuple):
    """Rows to remove.

    Attributes:
        suffix: Of the table's name.
        condition: Condition for the rows.
        parameters: Values of its parameters.
    """

    suffix: str
    condition: str
    parameters: Mapping[str, Any]

    def select(self, columns: str, tail: str = "") -> str:
        """Return a statement over the rows."""
        return select(columns, [self.condition], tail, _SOURCES[self.suffix])


class Deletion:
    """Removes rows from the store. All calls block, but none waits for a mutation.

    Args:
        store: The store, as a user that may delete rows.
        cluster: Name of the cluster that the tables are on; empty for a single server.
        retention: For how long messages are kept.
        log_retention: Retention of the log in seconds; None for unlimited. A processor that was
            given up may write rows of erased messages for so long.
        keep_retracted: Whether the content of retracted messages stays on the disk.
    """

    def __init__(  # what decides whether a row is due
        self,
        store: Store,
        cluster: str = "",
        retention: Retention = FOREVER,
        log_retention: int | None = None,
        *,
        keep_retracted: bool = False,
    ) -> None:
        self._store = store
        self._target = Target(store.table, cluster)
        self._retention = retention
        self._record = RetentionRecord(store)
        self._log_retention = log_retention
        self._erasures = Erasures(store)
        self._own_retentions = OwnRetentions(store)
        self._changes = Changes(store)
        self._expiring = 0
        self._tombstones = Tombstones(store)
        self._keep_retracted = keep_retracted
        self._touched: Collection[tuple[str | int, int]] = ()

    @classmethod
    def of(cls, store: Store, settings: Settings) -> "Deletion":
        """Return the removal from the store of the settings."""
        return cls(
            store,
            settings.clickhouse_cluster,
            settings.retention,
            settings.log_retention,
            keep_retracted=settings.keep_retracted,
        )

    def covered(self, erasure: Erasure) -> MessageSummary:
        """Summarise the messages that an erasure would hide from readers."""
        parameters = {**_parameters([erasure]), "owner": erasure.owner}
        return self._summarise([_ERASED, VISIBLE], parameters)

    def expired(self, now: float) -> MessageSummary:
        """Summarise the messages on the disk that have expired by a moment, in unix seconds.

        By the retention of their host, or by their owner's own.
        """
        end = horizon(self._retention, now)
        expired = f"position < greatest({end.expression}, own.horizon)"
        return self._summarise([expired], end.parameters, WITH_OWN_HORIZON)

    def waiting(self, now: float) -> MessageSummary:
        """Summarise the messages on the disk that have expired since the retention was shortened.

        Readers do not see them; their bytes stay until the retention is confirmed.

        Args:
            now: The moment, in unix seconds.
        """
        recorded = self._record.read()
        if recorded is None or recorded == self._retention:
            return _NO_MESSAGES
        start, end = horizon(recorded, now, "recorded_"), horizon(self._retention, now)
        return self._summarise(
            [f"position >= {start.expression}", f"position < {end.expression}"],
            {**start.parameters, **end.parameters},
        )

    def expires(self) -> bool:
        """Return whether any message expires ever: by a host's retention, or an owner's own."""
        return any(self._retention.periods) or bool(self._own_retentions.periods())

    def newest(self) -> float:
        """Return the time of the newest message on the disk, in unix seconds; 0 without any."""
        [(position,)] = self._store.select(select("max(position)"))
        return to_milliseconds(int(position)) / 1000

    def confirm(self) -> None:
        """Have the bytes removed by the retention of the settings, also where it is shorter."""
        self._record.write(self._retention)

    def step(self, now: float, *, own: bool = True) -> bool:
        """Start the mutations that are due, unless some are running.

        Call again for the same moment, with pauses, until nothing is left. The next step repeats
        one that was interrupted.

        Args:
            now: Moment by which messages have expired, in unix seconds.
            own: Whether also by their owners' own retention, which goes by ClickHouse's clock.

        Returns:
            Whether content is left to remove.

        Raises:
            StoreUnavailable: No answer, or ClickHouse cannot carry out a mutation; it goes on
                trying.
        """
        if self.rewrites():
            return True
        retention = self._record.extend(self._retention)
        due = [r for r in self._rows(retention, now, self._recent(now), own) if self._exist(r)]
        for rows in due:
            self._log(rows)
            self._announce(rows)
            table = self._target.on_every_server(rows.suffix)
            statement = f"ALTER TABLE {table} DELETE WHERE {rows.condition} {_ASYNCHRONOUS}"
            self._store.command(statement, rows.parameters)
        if not due and self._expiring:
            self._changes.end_expiry(self._expiring)
            self._expiring = 0
        return self._replace_retracted() or bool(due)

    def rewrites(self) -> int:
        """Return the number of parts that mutations have yet to rewrite; raises as `step` does."""
        [(parts, mutations, reason)] = self._look(
            "sum(greatest(parts_to_do, 1)), count(), max(latest_fail_reason)",
            "mutations",
            "NOT is_done",
        )
        if reason:
            code = _CODE.search(reason)
            text = f"error {code[1]} {code[2]}" if code else "unknown error"
            raise StoreUnavailable(f"ClickHouse cannot rewrite a part ({text})")
        return int(parts) if mutations else 0

    def doomed(self, now: float, erasures: Sequence[Erasure] = ()) -> frozenset[Part]:
        """Return the parts that may hold rows to remove: all of the partitions with such rows.

        Args:
            now: Moment by which messages have expired, in unix seconds.
            erasures: Erasures, besides those that `step` looks at.
        """
        parts: set[Part] = set()
        retention = self._record.extend(self._retention)
        for rows in self._rows(retention, now, [*self._recent(now), *erasures]):
            found = self._store.select(rows.select("DISTINCT _partition_id"), rows.parameters)
            parts |= self._parts(rows.suffix, [partition for (partition,) in found])
        return frozenset(parts)

    def on_disk(self, parts: frozenset[Part]) -> int:
        """Return how many of some parts are still on the disk."""
        found = self._look("hostName(), table, name", "parts")
        return len(parts & {Part(*row) for row in found})

    def _recent(self, now: float) -> Sequence[Erasure]:
        erasures = self._erasures.since(seconds_ago(self._log_retention, now))
        owners = groupby(erasures, key=lambda erasure: erasure.owner)
        return [erasure for _, asked in owners for erasure in in_force(list(asked))]

    def _replace_retracted(self) -> bool:
        """Put tombstones in the place of retracted content, some at a time.

        Views show it in computed days until these are recorded as changed.
        """
        if self._keep_retracted:
            self._touch_retracted(self._tombstones.kept())
            return False
        messages = self._tombstones.pending()
        self._touch_retracted({(message.owner, message.position) for message in messages})
        if messages:
            log.info("removing the content of %d retracted messages", len(messages))
        statement = f"{self._target.alter(_REPLACE)} {_ASYNCHRONOUS}"
        for some in chunks(messages, _text_of_retracted):
            owners, positions, stanzas = map(list, zip(*some, strict=True))
            parameters = {"owners": owners, "positions": positions, "stanzas": stanzas}
            self._store.command(statement, parameters)
        return bool(messages)

    def _touch_retracted(self, retracted: Collection[tuple[str | int, int]]) -> None:
        """Record the days of positions as changed, unless they came with the same last time.

        Args:
            retracted: Positions, each with its owner or with the number of its day's.
        """
        new = {position for of, position in retracted if (of, position) not in self._touched}
        touch_positions(self._store, new)
        self._touched = frozenset(retracted)

    def _rows(
        self, retention: Retention, now: float, erasures: Sequence[Erasure], own: bool = True
    ) -> Iterator[_Rows]:
        if any(retention.periods):
            end = horizon(retention, now)
            yield _Rows("", f"position < {end.expression}", end.parameters)
            yield _Rows(_TOMBSTONES, f"position < {end.expression}", end.parameters)
        for some in chunks(self._own_retentions.due().items() if own else (), _name):
            owners, highs = map(list, zip(*some, strict=True))
            yield _Rows("", _ENDED, {"owners": owners, "highs": highs})
            yield _Rows(_TOMBSTONES, _ENDED, {"owners": owners, "highs": highs})
        for asked in chunks(erasures, _text):
            yield _Rows("", _ERASED, _parameters(asked))
            # A tombstone may go once everything before it is gone that it can name.
            whole = [erasure for erasure in asked if not erasure.start]
            if whole:
                yield _Rows(_TOMBSTONES, _ERASED, _parameters(whole))
            accounts = [erasure for erasure in asked if erasure.account]
            if accounts:
                yield _Rows(_PREFERENCES, _ENDED, _parameters(accounts))
                yield _Rows(_OWN_RETENTION, _ENDED, _parameters(accounts))

    def _exist(self, rows: _Rows) -> bool:
        return bool(self._store.select(rows.select("1", "LIMIT 1"), rows.parameters))

    def _log(self, rows: _Rows) -> None:
        if rows.condition is _ERASED:
            log.info("removing what %d erasures cover", len(rows.parameters["owners"]))
        elif not rows.suffix:
            expired = self._summarise([rows.condition], rows.parameters)
            log.info("removing %d expired messages and presences", expired.total)

    def _announce(self, rows: _Rows) -> None:
        """Tell readers with a longer retention, who see the messages until they are gone."""
        newest = max(rows.parameters.get("horizon", 0), *rows.parameters.get("horizons", [0]))
        if newest > self._expiring:
            self._changes.begin_expiry(newest)
            self._expiring = newest

    def _summarise(
        self, where: Sequence[str], parameters: Mapping[str, Any], source: str = MESSAGES
    ) -> MessageSummary:
        distinct = select("DISTINCT owner, position, kind", where, source=source)
        [row] = self._store.select(select(_SUMMARY, source=f"({distinct})"), parameters)
        return MessageSummary(*map(int, row))

    def _parts(self, suffix: str, partitions: Sequence[str]) -> set[Part]:
        found = self._look(
            "hostName(), table, name",
            "parts",
            "table = {table:String} AND partition_id IN {partitions:Array(String)}",
            {"table": self._target.local(suffix), "partitions": partitions},
        )
        return {Part(*row) for row in found}

    def _look(
        self,
        columns: str,
        table: str,
        condition: str = "true",
        parameters: Mapping[str, Any] | None = None,
    ) -> Sequence[Sequence[Any]]:
        """Select from a system table of every server the rows about our tables."""
        cluster = self._target.cluster
        source = f"system.{table}"
        statement = select(
            columns,
            [_OF_TABLES, condition],
            source=f"clusterAllReplicas('{cluster}', {source})" if cluster else source,
        )
        tables = [self._target.local(suffix) for suffix in _SOURCES]
        return self._store.select(statement, {"tables": tables, **(parameters or {})})


def _text(erasure: Erasure) -> str:
    return erasure.owner + erasure.peer


def _name(horizon: tuple[str, int]) -> str:
    return horizon[0]


def _text_of_retracted(message: RetractedMessage) -> str:
    return message.owner + message.stanza


def _parameters(erasures: Sequence[Erasure]) -> dict[str, Any]:
    return {
        "owners": [erasure.owner for erasure in erasures],
        "lows": [erasure.start for erasure in erasures],
        "highs": [erasure.behind for erasure in erasures],
        "peers": [erasure.peer for erasure in erasures],
    }

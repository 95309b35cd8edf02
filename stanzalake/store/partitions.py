"""Change of the partitions of the messages table.

A page costs by the parts that may hold some of it, and parts of different partitions are never
merged: the larger the partitions, the cheaper are pages. The smaller they are, the less is
rewritten when messages expire. ClickHouse cannot change a table's partition key, so the messages
are copied into a second table, which then takes the place of the first.
https://clickhouse.com/docs/sql-reference/statements/exchange
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stanzalake.store.client import Store
from stanzalake.store.migrations import FORGET_RECENT, PARTITION_KEYS, Target
from stanzalake.store.statement import select
from stanzalake.store.table_copy import Part, Report, Step, TableCopy

log = logging.getLogger(__name__)

COPY, STEPS = "_repartitioned", "_repartitioning"
"""Suffixes of the second table, and of the table that tells how far the copy is."""

PASSING = (COPY, STEPS)
"""Suffixes of the tables that are there during a change only."""

_FEW = 100_000
"""Rows that are copied while no insert is taken: some seconds at most."""
_POLL_SECONDS = 0.05
_KEY = re.compile(r"PARTITION BY (.+?) (?=PRIMARY KEY|ORDER BY)")
_STEPS = """
CREATE TABLE IF NOT EXISTS {table}_repartitioning{on_cluster}
(
    host String, partition String, block Int64, owner String, position UInt64, complete Bool,
    at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {record_engine} ORDER BY at
"""
_REFUSE, _TAKE = "MODIFY SETTING max_parts_in_total = 1", "RESET SETTING max_parts_in_total"
_COLUMNS = """
SELECT name, type, default_kind, default_expression FROM system.columns
WHERE database = currentDatabase() AND table = {table:String} ORDER BY position
"""
_INSERTS = "query_kind IN ('Insert', 'AsyncInsertFlush')"


class Partitions:
    """The partitions of the messages table. All calls block.

    Args:
        store: The store, as a user that may create and drop tables.
        target: Names and clauses of the tables.
        sleep: Sleeps for seconds.
    """

    def __init__(
        self, store: Store, target: Target, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._store = store
        self._target = target
        self._sleep = sleep

    def current(self) -> str:
        """Return by what the messages are partitioned: month, quarter or year, else the key.

        Empty without partitions, or without a table.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        key = self._key("")
        return {value: name for name, value in PARTITION_KEYS.items()}.get(key, key)

    def is_due(self) -> bool:
        """Return whether a change is to be made, or to be finished; raises as `current` does."""
        return self.current() not in {"", self._target.partition_by} or bool(self._key(COPY))

    def change(self, report: Report = lambda _, __: None) -> None:
        """Change the partitions to those of the settings, or go on with an interrupted change.

        Services may run meanwhile: inserts are refused for some seconds at the end, and processors
        repeat them. Needs as much disk space as the messages take.

        Args:
            report: Called with the number of rows copied, and that of all.

        Raises:
            StoreUnavailable: No answer; repeat.
            StoreRefused: The database cannot exchange tables.
            StoreDenied: The user does not see the inserts of others, which have to end first.
        """
        if self.current() != self._target.partition_by:
            self._prepare()
            copy = self._copy("", COPY)
            copy.resume([Step(*row) for row in self._store.select(*self._steps())])
            while _rows(rest := copy.remainder()) > _FEW:
                copy.run(rest, report)
            with self._refusing_inserts():
                copy.run(copy.remainder(), report)
                if not self._is_wanted(""):
                    self._exchange()
        self._drop_former()

    def _prepare(self) -> None:
        """Create the second table, unless it is there with these columns and partitions."""
        # Denied now rather than hours later.
        self._running()
        if self._columns(COPY) != self._columns("") or not self._is_wanted(COPY):
            self._drop(COPY)
            self._drop(STEPS)
        own, copy = self._target.local(), self._target.on_every_server(COPY)
        # As an interrupted change may have left it.
        self._store.command(self._target.alter(_TAKE))
        key = PARTITION_KEYS[self._target.partition_by]
        wanted = _KEY.sub(lambda _: f"PARTITION BY {key} ", self._engine())
        self._store.command(f"CREATE TABLE IF NOT EXISTS {copy} AS {own} ENGINE = {wanted}")
        if self._target.cluster:
            self._store.command(self._target.distributed("TABLE", COPY))
        self._store.command(self._target.fill(_STEPS))

    def _copy(self, source: str, destination: str) -> TableCopy:
        table = self._store.table
        return TableCopy(
            self._store, table + source, table + destination, self._target.cluster, self._save
        )

    def _save(self, step: Step) -> None:
        self._store.insert([step], STEPS)

    def _steps(self) -> tuple[str, dict[str, Any]]:
        columns = ", ".join(Step._fields)
        table = self._store.table + STEPS
        return select(columns, tail="ORDER BY at", source="{steps:Identifier}"), {"steps": table}

    @contextmanager
    def _refusing_inserts(self) -> Iterator[None]:
        """Have ClickHouse refuse inserts by an error that processors take as one that passes."""
        self._store.command(self._target.alter(_REFUSE))
        try:
            self._wait_for_inserts()
            yield
        finally:
            # Also of the second table, should it have taken the first one's place.
            self._store.command(self._target.alter(_TAKE))

    def _wait_for_inserts(self) -> None:
        """Wait until the inserts end that began before they were refused."""
        running = self._running()
        while running & self._running():
            self._sleep(_POLL_SECONDS)

    def _running(self) -> set[str]:
        cluster = self._target.cluster
        processes = "system.processes"
        source = f"clusterAllReplicas('{cluster}', {processes})" if cluster else processes
        where = [_INSERTS, "current_database = currentDatabase()"]
        return {query for (query,) in self._store.select(select("query_id", where, source=source))}

    def _exchange(self) -> None:
        own, copy = self._target.local(), self._target.on_every_server(COPY)
        # The inserts of the second table are numbered anew.
        self._store.command(FORGET_RECENT)
        self._store.command(f"EXCHANGE TABLES {own} AND {copy}")
        self._store.command(FORGET_RECENT)
        log.info("%s is partitioned by %s now", own, self._target.partition_by)

    def _drop_former(self) -> None:
        """Drop the former table, whose last rows are copied should any have come late."""
        if not self._key(COPY):
            return
        copy = self._copy(COPY, "")
        copy.resume([Step(*row) for row in self._store.select(*self._steps())])
        copy.run(copy.remainder())
        self._drop(COPY)
        self._drop(STEPS)

    def _drop(self, suffix: str) -> None:
        names = {self._target.on_every_table(suffix)}
        if suffix == COPY:
            names.add(self._target.on_every_server(suffix))
        for name in names:
            self._store.command(f"DROP TABLE IF EXISTS {name} SYNC")

    def _is_wanted(self, suffix: str) -> bool:
        return self._key(suffix) == PARTITION_KEYS[self._target.partition_by]

    def _key(self, suffix: str) -> str:
        return partition_key(self._store, self._target.local(suffix))

    def _columns(self, suffix: str) -> Sequence[Sequence[Any]]:
        return self._store.select(_COLUMNS, {"table": self._target.local(suffix)})

    def _engine(self) -> str:
        return _look(self._store, "engine_full", self._target.local())


def partition_key(store: Store, table: str) -> str:
    """Return a table's partition key as ClickHouse formats it; empty if there is no table.

    Raises:
        StoreUnavailable: No answer; may work later.
    """
    return _look(store, "partition_key", table)


def _look(store: Store, column: str, table: str) -> str:
    where = ["database = currentDatabase()", "name = {name:String}"]
    rows = store.select(select(column, where, source="system.tables"), {"name": table})
    return "".join(value for (value,) in rows)


def _rows(parts: Sequence[Part]) -> int:
    return sum(part.rows for part in parts)

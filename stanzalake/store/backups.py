"""Online backup and restore of the store by ClickHouse's BACKUP and RESTORE.

https://clickhouse.com/docs/operations/backup/overview
"""

import time
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from stanzalake.errors import BackupIncomplete, NotFound, StanzalakeError, StoreRefused
from stanzalake.store import aggregates
from stanzalake.store.client import Store
from stanzalake.store.partitions import PASSING, partition_key
from stanzalake.store.statement import identifier, literal
from stanzalake.store.table_copy import TableCopy

INCOMPLETE = (
    "the backup {} is incomplete: look whether its disk is full, and remove what is there of it"
)
_POLL_SECONDS = 0.1
_EXISTS, _NOT_FOUND = "Code: 598.", "Code: 599."
"""ClickHouse's BACKUP_ALREADY_EXISTS and BACKUP_NOT_FOUND."""
_FILE = r"^File\('(.*)'\)$"
_SCRATCH = "verify_"
_SUFFIXES = ("", "_preferences", "_erasures")
"""Suffixes of the tables that a backup must have."""
_DATABASE = "SELECT currentDatabase()"
_RUNNING = {"CREATING_BACKUP", "RESTORING"}
_DONE = {"BACKUP_CREATED", "RESTORED"}
# Existing rows stay: readers deduplicate a row that is in both. Table definitions may differ by
# later migrations and settings.
_MERGE = "allow_non_empty_tables = true, allow_different_table_def = true"


class BackupContents(NamedTuple):
    """What a backup has been found to hold.

    Attributes:
        messages: Number of rows of messages.
        owners: Number of owners, an estimate above some ten thousand.
        first: Position of the oldest message; 0 if there is none.
        last: Position of the newest message.
    """

    messages: int
    owners: int
    first: int
    last: int


class MadeBackup(NamedTuple):
    """A backup that exists.

    Attributes:
        name: File name.
        base: Name of the backup that an incremental one builds on; empty for a full one.
        at: When it was made.
        size: Bytes, without those of the base.
    """

    name: str
    base: str
    at: datetime
    size: int


class Backups:
    """Backups that the store can reach. All calls block.

    They lie in `backups` of the embedded engine's data directory, or in the first
    `backups.allowed_path` of a server.

    Args:
        store: The store, opened as the administrator.
        sleep: Sleeps for seconds.
    """

    def __init__(self, store: Store, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store = store
        self._sleep = sleep

    def make(self, name: str, base: str = "") -> int:
        """Back up a snapshot of all tables.

        Args:
            name: File name of the new backup.
            base: File name of a full backup, for an incremental one; empty for none.

        Returns:
            Bytes of its files.

        Raises:
            BackupIncomplete: The disk is full.
            NotFound: There is no such backup.
            StoreRefused: The name exists, or ClickHouse may not write there.
            StoreUnavailable: No answer; may work later.
        """
        tables = self._store.select(
            "SELECT name FROM system.tables WHERE database = currentDatabase()"
            " AND (name = {table:String} OR startsWith(name, {table:String} || '_'))"
            " AND name NOT IN {passing:Array(String)} ORDER BY name",
            {
                "table": self._store.table,
                "passing": [self._store.table + suffix for suffix in PASSING],
            },
        )
        which = ", ".join(f"TABLE {identifier(table)}" for (table,) in tables)
        full = f"base_backup = File({literal(base)})" if base else ""
        size = self._run(f"BACKUP {which} TO File({{name:String}})", name, full)
        self._require_readable(name)
        return size

    def _require_readable(self, name: str) -> None:
        """Read the list of files of a new backup, which ClickHouse writes last.

        Raises:
            BackupIncomplete: ClickHouse has taken a full disk for success.
        """
        scratch = _SCRATCH + self._store.table
        self._drop([scratch])
        try:
            self._run(self._restore_messages, name, "structure_only = true")
        except StoreRefused as error:
            raise BackupIncomplete(INCOMPLETE.format(name)) from error
        finally:
            self._drop([scratch])

    def restore(self, name: str) -> None:
        """Merge all rows of a backup into the tables; raises as `make` does."""
        if self._is_partitioned_alike(name):
            self._run("RESTORE ALL FROM File({name:String})", name, _MERGE)
        else:
            self._restore_copying(name)
        aggregates.touch_all(self._store)

    def _is_partitioned_alike(self, name: str) -> bool:
        """Return whether the parts of a backup fit the partitions of the messages table."""
        scratch = _SCRATCH + self._store.table
        key = partition_key(self._store, self._store.table)
        if not key:
            return True
        self._drop([scratch])
        self._run(self._restore_messages, name, "structure_only = true")
        restored = partition_key(self._store, scratch)
        self._drop([scratch])
        return restored == key

    def _restore_copying(self, name: str) -> None:
        """Restore the messages beside their table, and copy them into its partitions."""
        scratch, database = _SCRATCH + self._store.table, self._store.select(_DATABASE)[0][0]
        messages = f"{identifier(database)}.{identifier(self._store.table)}"
        self._run(f"RESTORE ALL EXCEPT TABLE {messages} FROM File({{name:String}})", name, _MERGE)
        self._run(self._restore_messages, name, "")
        try:
            copy = TableCopy(self._store, scratch, self._store.table)
            copy.run(copy.remainder())
        finally:
            self._drop([scratch])

    @property
    def _restore_messages(self) -> str:
        table = self._store.table
        copy = identifier(_SCRATCH + table)
        return f"RESTORE TABLE {identifier(table)} AS {copy} FROM File({{name:String}})"

    def verify(self, name: str) -> BackupContents:
        """Restore a backup beside the tables, have ClickHouse check every part, and drop it again.

        Raises:
            NotFound: There is no such backup.
            StoreRefused: The backup is damaged or incomplete.
            StoreUnavailable: No answer; may work later.
        """
        copies = {_SCRATCH + table: table for table in map(self._store.table.__add__, _SUFFIXES)}
        tables = (f"TABLE {identifier(t)} AS {identifier(copy)}" for copy, t in copies.items())
        self._drop(copies)
        try:
            self._run(f"RESTORE {', '.join(tables)} FROM File({{name:String}})", name, "")
            for copy in copies:
                self._check(copy)
            return self._contents(_SCRATCH + self._store.table)
        finally:
            self._drop(copies)

    def made(self) -> list[MadeBackup]:
        """Return the backups that a server has made since its start, the newest last."""
        rows = self._store.select(
            "SELECT extract(name, {file:String}) AS file, extract(base_backup_name, {file:String}),"
            " toTimeZone(end_time, 'UTC'), total_size"
            " FROM system.backups WHERE status = 'BACKUP_CREATED' AND file != '' ORDER BY end_time",
            {"file": _FILE},
        )
        return [MadeBackup(*row) for row in rows]

    def _check(self, table: str) -> None:
        [[is_passed]] = self._store.select(
            "CHECK TABLE {copy:Identifier} SETTINGS check_query_single_value_result = 1",
            {"copy": table},
        )
        if not int(str(is_passed)):
            raise StoreRefused(f"the backup of {table.removeprefix(_SCRATCH)} is damaged")

    def _contents(self, table: str) -> BackupContents:
        [row] = self._store.select(
            "SELECT count(), uniq(owner), min(position), max(position) FROM {copy:Identifier}",
            {"copy": table},
        )
        return BackupContents(*row)

    def _drop(self, tables: Iterable[str]) -> None:
        for table in tables:
            self._store.command(f"DROP TABLE IF EXISTS {identifier(table)} SYNC")

    def _run(self, statement: str, name: str, settings: str) -> int:
        """Run a statement to its end, and return the bytes of the backup's files."""
        operation = str(uuid.uuid4())
        clauses = ", ".join(filter(None, (f"id = {literal(operation)}", settings)))
        self._store.command(f"{statement} SETTINGS {clauses} ASYNC", {"name": name})
        while (size := self._size_of(operation)) is None:
            self._sleep(_POLL_SECONDS)
        return size

    def _size_of(self, operation: str) -> int | None:
        """Return the bytes of a backup's files; None while the operation runs."""
        rows = self._store.select(
            "SELECT status, error, compressed_size FROM system.backups WHERE id = {id:String}",
            {"id": operation},
        )
        # The list is in the server's memory.
        [(status, error, size)] = rows or [("", "ClickHouse was restarted meanwhile", 0)]
        if status not in _RUNNING | _DONE:
            # The error may go on with all columns of a table.
            line, _, _ = error.partition(", Stack trace")[0].partition("\n")
            raise _error(line or status)
        return None if status in _RUNNING else int(size)


def _error(reason: str) -> StanzalakeError:
    if reason.startswith(_NOT_FOUND):
        return NotFound("there is no such backup where ClickHouse keeps them")
    if reason.startswith(_EXISTS):
        return StoreRefused(
            "there is a backup of this name already, or what an interrupted one has left: take "
            "another name, or remove its directory"
        )
    return StoreRefused(f"ClickHouse could not do it: {reason}")

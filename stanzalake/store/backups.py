"""Online backup and restore of the store by ClickHouse's BACKUP and RESTORE.

https://clickhouse.com/docs/operations/backup/overview
"""

import time
import uuid
from collections.abc import Callable

from stanzalake.errors import NotFound, StanzalakeError, StoreRefused
from stanzalake.store.client import Store
from stanzalake.store.statement import identifier, literal

_POLL_SECONDS = 0.1
_EXISTS, _NOT_FOUND = "Code: 598.", "Code: 599."
"""ClickHouse's BACKUP_ALREADY_EXISTS and BACKUP_NOT_FOUND."""
_RUNNING = {"CREATING_BACKUP", "RESTORING"}
_DONE = {"BACKUP_CREATED", "RESTORED"}
# Existing rows stay: readers deduplicate a row that is in both. Table definitions may differ by
# later migrations and settings.
_MERGE = "allow_non_empty_tables = true, allow_different_table_def = true"


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

    def make(self, name: str, base: str = "") -> None:
        """Back up a snapshot of all tables.

        Args:
            name: File name of the new backup.
            base: File name of a full backup, for an incremental one; empty for none.

        Raises:
            NotFound: There is no such backup.
            StoreRefused: The name exists, or ClickHouse may not write there.
            StoreUnavailable: No answer; may work later.
        """
        tables = self._store.select(
            "SELECT name FROM system.tables WHERE database = currentDatabase()"
            " AND (name = {table:String} OR startsWith(name, {table:String} || '_'))"
            " ORDER BY name",
            {"table": self._store.table},
        )
        which = ", ".join(f"TABLE {identifier(table)}" for (table,) in tables)
        full = f"base_backup = File({literal(base)})" if base else ""
        self._run(f"BACKUP {which} TO File({{name:String}})", name, full)

    def restore(self, name: str) -> None:
        """Merge all rows of a backup into the tables; raises as `make` does."""
        self._run("RESTORE ALL FROM File({name:String})", name, _MERGE)

    def _run(self, statement: str, name: str, settings: str) -> None:
        operation = str(uuid.uuid4())
        clauses = ", ".join(filter(None, (f"id = {literal(operation)}", settings)))
        self._store.command(f"{statement} SETTINGS {clauses} ASYNC", {"name": name})
        while self._is_running(operation):
            self._sleep(_POLL_SECONDS)

    def _is_running(self, operation: str) -> bool:
        rows = self._store.select(
            "SELECT status, error FROM system.backups WHERE id = {id:String}", {"id": operation}
        )
        # The list is in the server's memory.
        [(status, error)] = rows or [("", "ClickHouse was restarted meanwhile")]
        if status not in _RUNNING | _DONE:
            raise _error(error.partition(", Stack trace")[0] or status)
        return status in _RUNNING


def _error(reason: str) -> StanzalakeError:
    if reason.startswith(_NOT_FOUND):
        return NotFound("there is no such backup where ClickHouse keeps them")
    if reason.startswith(_EXISTS):
        return StoreRefused("there is a backup of this name already")
    return StoreRefused(f"ClickHouse could not do it: {reason}")

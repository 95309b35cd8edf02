"""Removal: how rows leave the store, by erasure or by age, and their bytes the disk.

An erasure first hides rows (a lightweight DELETE, which reads obey at once) and the clean-up then
rewrites the parts that hold them. ClickHouse keeps the old parts for `old_parts_lifetime` (a
minute) behind any rewrite. https://clickhouse.com/docs/sql-reference/statements/delete and
https://clickhouse.com/docs/sql-reference/statements/alter/apply-deleted-mask
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from stanzalake.config.settings import Settings
from stanzalake.errors import StoreUnavailable
from stanzalake.model.event import Erasure
from stanzalake.store import histories
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store
from stanzalake.store.migrations import Target

log = logging.getLogger(__name__)

_WISHES = histories.SUFFIX
_ERASE_SECONDS = 10.0
"""How long one attempt waits until readers see nothing more of what is erased."""
_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 20.0
"""How long a statement has for its work until it is asked for again; the next has twice that."""
# Owners narrow it down by the primary key; the rest is looked at for their rows only.
_COVERED = """
owner IN {owners:Array(String)} AND arrayExists(
    (of, low, high, by) ->
        owner = of AND position >= low AND position < high AND (by = '' OR by = peer),
    {owners:Array(String)}, {lows:Array(UInt64)}, {highs:Array(UInt64)}, {peers:Array(String)})"""
_ENDED = """
owner IN {owners:Array(String)} AND arrayExists(
    (of, high) -> owner = of AND position < high, {owners:Array(String)}, {highs:Array(UInt64)})"""
_ASYNCHRONOUS = "SETTINGS lightweight_deletes_sync = 0, mutations_sync = 0"
_REWRITING = """
SELECT
    (SELECT count() FROM {mutations} WHERE database = currentDatabase()
        AND table IN {{tables:Array(String)}} AND NOT is_done)
    + (SELECT count() FROM {parts} WHERE database = currentDatabase()
        AND table IN {{tables:Array(String)}} AND active AND has_lightweight_delete)"""
_REPLACED = """
SELECT hostName(), table, name FROM {parts} WHERE database = currentDatabase()
    AND table IN {{tables:Array(String)}} AND NOT active"""


class MessageSummary(NamedTuple):
    """Some messages.

    Attributes:
        messages: How many.
        first: Position of the first; 0 if there is none.
        last: Position of the last; 0 if there is none.
    """

    messages: int
    first: int
    last: int


class Deletion:
    """Takes rows out of the store. Its calls block.

    Args:
        store: Where they are, for a user that may do so.
        cluster: Name of the cluster that the tables are spread over; empty for a single server.
        clock: Gives monotonic seconds.
        sleep: Waits for seconds.
    """

    def __init__(
        self,
        store: Store,
        cluster: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._target = Target(store.table, cluster)
        self._cluster = cluster
        self._clock = clock
        self._sleep = sleep
        self._asked: set[tuple[str, str, int]] = set()
        self._patience = _PATIENCE_SECONDS
        self._again = 0.0

    @classmethod
    def of(cls, store: Store, settings: Settings) -> "Deletion":
        """Give the removal from the store that the settings describe."""
        return cls(store, settings.clickhouse_cluster)

    def erase(self, erasures: Sequence[Erasure]) -> None:
        """Hide what erasures cover: when this returns, no reader sees any of it.

        Raises:
            StoreUnavailable: It is not done yet: ask again.
        """
        for some in chunks(erasures, _text):
            self._hide("", _COVERED, some)
            self._hide(_WISHES, _ENDED, [erasure for erasure in some if erasure.account])
        self._asked.clear()

    def covered(self, erasures: Sequence[Erasure]) -> MessageSummary:
        """Give the messages that erasures cover and that are not hidden yet."""
        return self._span(_COVERED, _parameters(erasures))

    def expired(self, horizon: int) -> MessageSummary:
        """Give the messages that are older than a position and still take room."""
        return self._span("position < {horizon:UInt64}", {"horizon": horizon})

    def expire(self, horizon: int) -> None:
        """Begin to remove the messages that are older than a position; does not wait."""
        delete = "DELETE WHERE position < {horizon:UInt64} " + _ASYNCHRONOUS
        self._store.command(self._target.alter(delete), {"horizon": horizon})

    def clean(self) -> None:
        """Begin to take the bytes of hidden rows from the disk; does not wait."""
        for part in ("", _WISHES):
            table = self._target.on_every_server(part)
            self._store.command(f"ALTER TABLE {table} APPLY DELETED MASK {_ASYNCHRONOUS}")

    def rewriting(self) -> int:
        """Give how many rewrites are to be done yet."""
        [(count,)] = self._look(_REWRITING)
        return int(count)

    def replaced(self) -> frozenset[Sequence[str]]:
        """Give the parts that are no longer read, and still on the disk."""
        return frozenset(map(tuple, self._look(_REPLACED)))

    def _hide(self, part: str, condition: str, erasures: Sequence[Erasure]) -> None:
        deadline = self._clock() + _ERASE_SECONDS
        parameters = _parameters(erasures)
        while erasures and self._count(part, condition, parameters):
            self._ask(part, condition, erasures)
            if self._clock() > deadline:
                raise StoreUnavailable("an erasure is still being carried out by ClickHouse")
            self._sleep(_POLL_SECONDS)

    def _ask(self, part: str, condition: str, erasures: Sequence[Erasure]) -> None:
        """Have it done: seldom, as each statement is a rewrite that waits for those before it.

        Again, as one may be lost, and another process may have written behind it.
        """
        new = {(part, erasure.owner, erasure.position) for erasure in erasures} - self._asked
        if not new and self._clock() < self._again:
            return
        self._patience = _PATIENCE_SECONDS if new else 2 * self._patience
        self._again = self._clock() + self._patience
        self._asked |= new
        self._store.command(
            f"DELETE FROM {self._target.on_every_server(part)} WHERE {condition} {_ASYNCHRONOUS}",  # noqa: S608  # identifiers
            _parameters(erasures),
        )
        for erasure in erasures:
            log.info("erasing %s", _described(erasure))

    def _count(self, part: str, condition: str, parameters: Mapping[str, Any]) -> int:
        [(count,)] = self._store.select(
            f"SELECT count() FROM {self._store.table}{part} WHERE {condition}",  # noqa: S608  # identifiers
            parameters,
        )
        return int(count)

    def _span(self, condition: str, parameters: Mapping[str, Any]) -> MessageSummary:
        [row] = self._store.select(
            "SELECT count(), min(position), max(position) FROM"  # noqa: S608  # identifiers
            f" (SELECT DISTINCT owner, position FROM {self._store.table} WHERE {condition})",
            parameters,
        )
        return MessageSummary(*map(int, row))

    def _look(self, statement: str) -> Sequence[Sequence[Any]]:
        """Select from the tables that ClickHouse has about ours, on every server."""
        names = [self._target.table + part for part in ("", _WISHES)]
        tables = [*names, *(f"{name}_local" for name in names)]
        sources = {name: self._system(name) for name in ("mutations", "parts")}
        return self._store.select(statement.format(**sources), {"tables": tables})

    def _system(self, table: str) -> str:
        if not self._cluster:
            return f"system.{table}"
        return f"clusterAllReplicas('{self._cluster}', system.{table})"


def _text(erasure: Erasure) -> str:
    return erasure.owner + erasure.peer


def _parameters(erasures: Sequence[Erasure]) -> dict[str, Any]:
    return {
        "owners": [erasure.owner for erasure in erasures],
        "lows": [erasure.start for erasure in erasures],
        "highs": [min(erasure.end, erasure.position) for erasure in erasures],
        "peers": [erasure.peer for erasure in erasures],
    }


def _described(erasure: Erasure) -> str:
    scope = " with the account" if erasure.account else ""
    peer = f" with {erasure.peer}" if erasure.peer else ""
    return f"the archive of {erasure.owner}{peer}{scope}; asked by {erasure.by or 'nobody named'}"

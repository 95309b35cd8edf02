"""Reads of messages as their owner may see them: without erased ones, and with tombstones.

At next to no cost for owners without erasures and tombstones.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from stanzalake.model.page import MAX_PAGE
from stanzalake.store.client import Store
from stanzalake.store.erasures import MAY_BE_ERASED, VISIBLE
from stanzalake.store.statement import MESSAGES, select
from stanzalake.store.tombstones import clear_traits, omit_retracted, replace_retracted

T = TypeVar("T")
Rows = Sequence[Sequence[Any]]

FINAL = f"{MESSAGES} FINAL"
"""Source of a query that counts each message once."""
STATEMENT_SECONDS = 25
"""Seconds of a statement of readers at most."""
SETTINGS = f"SETTINGS max_threads = 1, max_execution_time = {STATEMENT_SECONDS}"
"""Settings of readers' statements."""
BOUND = f"max_result_bytes = {2 * MAX_PAGE}, result_overflow_mode = 'throw'"
"""Settings that bound the bytes of stanzas in a result."""
FINAL_SETTINGS = "do_not_merge_across_partitions_select_final = 1"
"""Settings for it: a merged partition is counted without deduplication."""


@dataclass(frozen=True)
class Query:
    """A SELECT statement over the messages of the owner ``{owner:String}``.

    Attributes:
        columns: The expressions to select.
        where: Conditions, all of which apply.
        parameters: Values of the ``{name:Type}`` parameters.
        tail: Clauses after WHERE.
        source: The messages table with its modifiers.
        order: ASC or DESC, by position, for statements that select stanzas; else empty.
        distinct: Whether rows of `order` are deduplicated.
        by_text: Whether a condition looks at the content, which retracted messages have none of.
        by_traits: Whether `columns` are about traits, which retracted messages have none of.
        settings: The SETTINGS clause.
    """

    columns: str
    where: Sequence[str]
    parameters: Mapping[str, Any]
    tail: str = ""
    source: str = MESSAGES
    order: str = ""
    distinct: bool = False
    by_text: bool = False
    by_traits: bool = False
    settings: str = ""

    @property
    def filtered(self) -> str:
        """The statement without settings, with the filter of erasures and with tombstones."""
        if self.by_text:
            rows = select("*", [*self.where, VISIBLE], source=self.source)
            rows = omit_retracted(rows, of_owner=True)
            return select(self.columns, tail=self._tail(distinct=True), source=f"({rows})")
        where = [*self.where, VISIBLE]
        if self.by_traits:
            return select(self.columns, tail=self.tail, source=clear_traits(self.source, where))
        if not self.order:
            return select(self.columns, where, self.tail, self.source)
        rows = select("*", where, self._tail(distinct=True), self.source)
        shown = replace_retracted(rows, self.order)
        return select(self.columns, tail=f"ORDER BY position {self.order}", source=f"({shown})")

    @property
    def unfiltered(self) -> str:
        """The statement as stored; its last column tells whether `filtered` may differ."""
        columns = f"{self.columns}, {MAY_BE_ERASED}"
        tail = f"{self._tail(distinct=self.distinct)} {self.settings}"
        return select(columns, self.where, tail, self.source)

    def _tail(self, *, distinct: bool) -> str:
        if not self.order:
            return self.tail
        once = "LIMIT 1 BY position" if distinct else ""
        return f"ORDER BY position {self.order} {once} {self.tail}"


class VisibleMessages:
    """Runs statements on threads of its own, and hides what was erased or retracted.

    Args:
        store: The store.
        threads: Number of concurrent statements, without searches: half as many.
        sharded: Whether the tables are spread over a cluster: every statement is filtered then,
            as a server does not know the records of other shards without asking.

    Attributes:
        sharded: The same.
    """

    def __init__(self, store: Store, threads: int, *, sharded: bool) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(threads, "query-store")
        # A search may read the whole of a large archive; others' pages do not wait for that.
        self._searches = ThreadPoolExecutor(max(1, threads // 2), "query-search")
        self.sharded = sharded

    async def select(self, query: Query) -> Rows:
        """Run a query; rows may have a further column. Raises as `Store.select` does."""
        if not self.sharded:
            rows = await self.run(query.unfiltered, query.parameters, by_text=query.by_text)
            if not rows or not rows[0][-1]:
                return rows
        statement = f"{query.filtered} {query.settings}"
        return await self.run(statement, query.parameters, by_text=query.by_text)

    async def run(
        self, statement: str, parameters: Mapping[str, Any], *, by_text: bool = False
    ) -> Rows:
        """Run a statement as it is, a search if `by_text`; raises as `Store.select` does."""
        threads = self._searches if by_text else self._threads
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, self._store.select, statement, parameters)

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function that blocks."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    async def close(self) -> None:
        """Drop queued statements, and wait for running ones. The store stays open."""
        for threads in (self._threads, self._searches):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)

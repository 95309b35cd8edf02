"""Reads of messages without the erased ones, at next to no cost for owners without erasures."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from stanzalake.store.client import Store
from stanzalake.store.erasures import MAY_BE_ERASED, VISIBLE
from stanzalake.store.statement import MESSAGES, select

T = TypeVar("T")
Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Query:
    """A SELECT statement over the messages of the owner ``{owner:String}``.

    Attributes:
        columns: The expressions to select.
        where: Conditions, all of which apply.
        parameters: Values of the ``{name:Type}`` parameters.
        tail: Clauses after WHERE.
        source: The messages table with its modifiers.
    """

    columns: str
    where: Sequence[str]
    parameters: Mapping[str, Any]
    tail: str = ""
    source: str = MESSAGES

    @property
    def filtered(self) -> str:
        """The statement, with the filter of erasures."""
        return select(self.columns, [*self.where, VISIBLE], self.tail, self.source)

    @property
    def unfiltered(self) -> str:
        """The statement without the filter; its last column tells whether the filter is needed."""
        return select(f"{self.columns}, {MAY_BE_ERASED}", self.where, self.tail, self.source)


class VisibleMessages:
    """Runs statements on threads of its own, and hides erased messages from their results.

    Args:
        store: The store.
        threads: Number of concurrent statements.
        sharded: Whether the tables are spread over a cluster: every statement is filtered then,
            as a server does not know the erasures of other shards without asking.
    """

    def __init__(self, store: Store, threads: int, *, sharded: bool) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(threads, "query-store")
        self._sharded = sharded

    async def select(self, query: Query) -> Rows:
        """Run a query; rows may have a further column. Raises as `Store.select` does."""
        if not self._sharded:
            rows = await self.run(query.unfiltered, query.parameters)
            if not rows or not rows[0][-1]:
                return rows
        return await self.run(query.filtered, query.parameters)

    async def run(self, statement: str, parameters: Mapping[str, Any]) -> Rows:
        """Run a statement as it is; raises as `Store.select` does."""
        return await self.call(self._store.select, statement, parameters)

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function that blocks."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    async def close(self) -> None:
        """Drop queued statements, and wait for running ones. The store stays open."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

"""The repository: one owner's archive, as the store has it. The only SQL of the query service.

The store may hold a row more than once until it has merged its parts; nothing here gives or
counts one twice.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from archive.histories import Histories, History
from archive.position import MAX_POSITION, Sealer, from_milliseconds
from archive.store import Store

MAX_PAGE = 4 * 1024 * 1024
"""Bytes of stanzas in one page at most, but for the page's first stanza."""

MAX_LEGACY_ID = 255

_SETTINGS = "SETTINGS max_threads = 1, max_execution_time = 20"


class Item(NamedTuple):
    """One archived message as its owner sees it. An empty stanza is one that was taken away."""

    position: int
    id: str
    stanza: str


class Stretch(NamedTuple):
    """Consecutive items, oldest first, and whether more follow in the direction of reading."""

    items: Sequence[Item]
    more: bool


@dataclass(frozen=True)
class Selection:
    """Which items of an archive are meant.

    Attributes:
        low: Lowest position that belongs to it; may be over any position.
        high: Highest position that belongs to it; may be under any position.
        peer: Bare JID of the other party; empty for all.
        resource: Its resource; empty for all.
        groupchat: Whether messages of type groupchat belong to it.
        positions: The only positions that belong to it; None for all.
    """

    low: int = 0
    high: int = MAX_POSITION
    peer: str = ""
    resource: str = ""
    groupchat: bool = True
    positions: frozenset[int] | None = None


class Archive(Protocol):
    """One owner's archive at one moment: what is expired then is not in it."""

    async def find(self, ids: Collection[str]) -> Mapping[str, int]:
        """Give the position of each id that is a place in this archive, stored or not."""

    async def stored(self, positions: Collection[int]) -> frozenset[int]:
        """Give those of the positions that hold an item."""

    async def read(
        self, selection: Selection, limit: int, *, backward: bool = False, skip: int = 0
    ) -> Stretch:
        """Give the first items of a selection, or its last ones.

        Args:
            selection: Which items.
            limit: Items at most; fewer if their stanzas are large.
            backward: Whether to read from the newest.
            skip: How many items to leave out before the first.
        """

    async def history(self) -> History:
        """Give what the owner said of the archive, oldest first."""

    async def count(self, selection: Selection, below: int) -> tuple[int, int]:
        """Give the number of items of a selection, and of those below a position."""


class Repository:
    """All archives of one table.

    Args:
        store: Where they are; used by one thread at a time.
        sealer: Makes and opens ids.
        expires_after: Seconds for which an item is shown; None for ever.
        clock: Gives the unix time in seconds.
    """

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        expires_after: int | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._expires_after = expires_after
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "query-store")

    def archive(self, owner: str) -> Archive:
        """Give an owner's archive as of now."""
        return _StoredArchive(self._store, self._sealer, self._thread, owner, self._oldest())

    async def size(self) -> int:
        """Give the bytes that all archives take on the store's disk.

        Raises:
            StanzalakeError: It cannot be told just now, or not to this user.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._store.size)

    def close(self) -> None:
        """Wait for the statement that runs, if any. The store stays open."""
        self._thread.shutdown(cancel_futures=True)

    def _oldest(self) -> int:
        if self._expires_after is None:
            return 0
        horizon = int(1000 * (self._clock() - self._expires_after))
        return from_milliseconds(max(horizon, 0))


class _StoredArchive:
    def __init__(
        self, store: Store, sealer: Sealer, thread: ThreadPoolExecutor, owner: str, oldest: int
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._thread = thread
        self._owner = owner
        self._oldest = oldest

    async def find(self, ids: Collection[str]) -> Mapping[str, int]:
        opened = {id_: self._sealer.open(self._owner, id_) for id_ in ids}
        sealed = {id_: position for id_, position in opened.items() if position is not None}
        legacy = [id_ for id_ in opened.keys() - sealed.keys() if 0 < len(id_) <= MAX_LEGACY_ID]
        places = {**sealed, **(await self._legacy(legacy))}
        return {id_: place for id_, place in places.items() if place >= self._oldest}

    async def stored(self, positions: Collection[int]) -> frozenset[int]:
        selection = Selection(positions=frozenset(positions))
        rows = await self._select("DISTINCT position", selection)
        return frozenset(position for [position] in rows)

    async def read(
        self, selection: Selection, limit: int, *, backward: bool = False, skip: int = 0
    ) -> Stretch:
        order = "DESC" if backward else "ASC"
        where, parameters = self._where(selection)
        # One more than asked for tells whether more follow; the running sum bounds a page's bytes.
        # DISTINCT stops at its limit however large the archive is, where LIMIT BY reads all of it.
        statement = f"""
            SELECT position, legacy_id, if(fits, stanza, ''),
                sum(length(stanza)) OVER (ORDER BY position {order} ROWS UNBOUNDED PRECEDING)
                    - length(stanza) < {MAX_PAGE} AS fits
            FROM (
                SELECT position, legacy_id, stanza FROM {self._store.table}
                WHERE owner = {{owner:String}} AND position IN (
                    SELECT DISTINCT position FROM {self._store.table} WHERE {where}
                    ORDER BY position {order} LIMIT {{limit:UInt64}} OFFSET {{skip:UInt64}}
                )
                LIMIT 1 BY position
            )
            ORDER BY position {order} {_SETTINGS}"""  # noqa: S608  # values travel as parameters
        rows = await self._run(statement, {**parameters, "limit": limit + 1, "skip": skip})
        shown = [self._item(*row) for *row, fits in rows[:limit] if fits]
        return Stretch(shown[::-1] if backward else shown, more=len(shown) < len(rows))

    async def count(self, selection: Selection, below: int) -> tuple[int, int]:
        where, parameters = self._where(selection)
        statement = f"""
            SELECT count(), countIf(position < {{below:UInt64}})
            FROM (SELECT DISTINCT position FROM {self._store.table} WHERE {where})
            {_SETTINGS}"""  # noqa: S608  # values travel as parameters
        [[total, before]] = await self._run(statement, {**parameters, "below": below})
        return total, before

    async def history(self) -> History:
        loop = asyncio.get_running_loop()
        histories = Histories(self._store)
        return (await loop.run_in_executor(self._thread, histories.read, [self._owner]))[
            self._owner
        ]

    async def _legacy(self, ids: Sequence[str]) -> Mapping[str, int]:
        if not ids:
            return {}
        columns = "legacy_id, min(position)"
        extra = "AND legacy_id IN {ids:Array(String)} GROUP BY legacy_id"
        rows = await self._select(columns, Selection(), extra, ids=ids)
        return {id_: int(position) for id_, position in rows}

    async def _select(
        self, columns: str, selection: Selection, extra: str = "", **more: Any
    ) -> Sequence[Sequence[Any]]:
        where, parameters = self._where(selection)
        source = f"FROM {self._store.table} WHERE {where} {extra} {_SETTINGS}"
        return await self._run(f"SELECT {columns} {source}", {**parameters, **more})

    async def _run(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._store.select, statement, parameters)

    def _where(self, selection: Selection) -> tuple[str, dict[str, Any]]:
        low, high = max(selection.low, self._oldest), selection.high
        parameters: dict[str, Any] = {"owner": self._owner}
        if low > high:
            return "false", parameters
        terms = ["owner = {owner:String}", "position BETWEEN {low:UInt64} AND {high:UInt64}"]
        parameters |= {"low": low, "high": high}
        if selection.peer:
            terms.append("peer = {peer:String}")
            parameters["peer"] = selection.peer
        if selection.resource:
            terms.append("peer_resource = {resource:String}")
            parameters["resource"] = selection.resource
        if not selection.groupchat:
            terms.append("kind != 'groupchat'")
        if selection.positions is not None:
            terms.append("position IN {positions:Array(UInt64)}")
            parameters["positions"] = sorted(selection.positions)
        return " AND ".join(terms), parameters

    def _item(self, position: int, legacy_id: str, stanza: str) -> Item:
        return Item(position, legacy_id or self._sealer.seal(self._owner, position), stanza)

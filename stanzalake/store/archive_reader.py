"""Reads of a single archive: pages, counts and look-ups by id, for the query service.

ClickHouse keeps duplicates of a row until it merges their parts; all reads here deduplicate.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from stanzalake.errors import AnswerCut, ResultTooLarge, StatementTimeout
from stanzalake.model.history import History
from stanzalake.model.inbox import Inbox
from stanzalake.model.page import (
    MAX_LEGACY_ID,
    MAX_PAGE,
    Archive,
    ArchiveRetention,
    Conversation,
    Item,
    NewestMessages,
    Page,
    Selection,
    count_bytes,
)
from stanzalake.model.position import MAX_POSITION, Sealer, from_milliseconds, seconds_ago
from stanzalake.model.retention import Retention
from stanzalake.store import full_text
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store
from stanzalake.store.conversations import (
    MAX_ROOM_MESSAGES,
    NO_ERROR,
    ROOM_COLUMNS,
    Conversations,
)
from stanzalake.store.histories import Histories
from stanzalake.store.newest import NewestReader
from stanzalake.store.own_retention import OwnRetentions
from stanzalake.store.statement import MESSAGES, NO_PRESENCE, match_party, select
from stanzalake.store.visible import (
    BOUND,
    FINAL,
    FINAL_SETTINGS,
    SETTINGS,
    STATEMENT_SECONDS,
    Query,
    Rows,
    VisibleMessages,
)

COUNT_SECONDS = 2.0
"""Seconds to count what a full-text query matches: that reads the texts of the whole archive."""

_NEAR = {
    "month": from_milliseconds(31 * 86_400_000),
    "quarter": from_milliseconds(92 * 86_400_000),
}
"""Span of a partition where an archive lies in many, by what messages are partitioned by."""
_NOTHING = Selection(low=1, high=0)


class ArchiveReader:
    """Opens archives of the store, and runs their statements on its own threads.

    Args:
        store: The store.
        sealer: Seals and opens archive ids.
        retention: For how long messages are kept.
        clock: Returns unix time in seconds.
        threads: Number of concurrent statements.
        sharded: Whether the tables are spread over a cluster.
        partition_by: By what messages are partitioned.
    """

    def __init__(  # noqa: PLR0913  # the parts of the reader
        self,
        store: Store,
        sealer: Sealer,
        retention: Retention,
        clock: Callable[[], float] = time.time,
        *,
        threads: int = 1,
        sharded: bool = False,
        partition_by: str = "year",
    ) -> None:
        self._store = store
        self._messages = VisibleMessages(store, threads, sharded=sharded)
        self._newest = NewestReader(self._messages)
        self._histories = Histories(store)
        self._own_retentions = OwnRetentions(store)
        self._sealer = sealer
        self._retention = retention
        self._clock = clock
        self._near = _NEAR.get(partition_by, 0)

    def archive(self, owner: str) -> Archive:
        """Return an owner's archive, with the retention horizon as of now."""
        return self._archive(owner)

    def _archive(self, owner: str) -> "_StoredArchive":
        now = self._clock()
        horizon = self._retention.horizon(owner, now)
        return self._archive_from(horizon, owner, from_milliseconds(int(1000 * now)))

    def _archive_from(self, oldest: int, owner: str, now: int = 0) -> "_StoredArchive":
        parts = self._messages, self._histories, self._sealer
        retention = partial(self.retention, owner)
        return _StoredArchive(*parts, owner, oldest, now, retention, self._near)

    def horizon(self, owner: str, own: int = 0) -> int:
        """Return the lowest position of an archive that is shown now.

        Args:
            owner: Bare JID.
            own: The owner's own retention in seconds; 0 for none.
        """
        now = self._clock()
        return max(self._retention.horizon(owner, now), seconds_ago(own or None, now))

    async def retention(self, owner: str) -> ArchiveRetention:
        """Return for how long an archive is kept; raises as `Store.select` does."""
        host = self._retention.of_host(owner.rpartition("@")[2])
        return ArchiveRetention(await self.own_retention(owner), host)

    async def own_retention(self, owner: str) -> int:
        """Return an owner's own retention in seconds, 0 for none; raises as `Store.select` does."""
        found = await self._messages.call(self._own_retentions.read, [owner])
        return found[owner].seconds if owner in found else 0

    async def newest(self, owner: str, low: int, limit: int) -> NewestMessages:
        """Return the newest messages of an owner from a position on.

        Args:
            owner: Bare JID.
            low: The position.
            limit: Number of messages at most.

        Raises:
            ResultTooLarge: Their stanzas pass twice the bytes of a page.
        """
        return await self._newest.read(owner, low, limit)

    async def summarise(self, owner: str, selection: Selection, below: int) -> tuple[int, int, int]:
        """Return the number of a selection's messages, the first's position, and a part's number.

        Nothing expires meanwhile: the selection has the horizon.

        Args:
            owner: Bare JID.
            selection: The selection.
            below: Position below which the part's messages are.
        """
        return await self._archive_from(0, owner).summarise(selection, below)

    async def inbox(self, owner: str, known: Inbox, up_to: int, own: int = 0) -> Inbox:
        """Return an owner's inbox with the messages up to a position.

        Args:
            owner: Bare JID.
            known: The inbox as of an earlier position; nothing older has changed since.
            up_to: The position.
            own: The owner's own retention in seconds; 0 for none.
        """
        return await self._archive_from(self.horizon(owner, own), owner).inbox(known, up_to)

    async def size(self) -> int:
        """Return the bytes on disk of all archives.

        Raises:
            StanzalakeError: Unavailable, or not granted to this user.
        """
        return await self._messages.call(self._store.size)

    async def close(self) -> None:
        """Drop queued statements, and wait for running ones. The store stays open."""
        await self._messages.close()


class _PageBuilder:
    """Collects rows up to the page's limits in items and bytes.

    Args:
        limit: Maximum number of items.

    Attributes:
        rows: Position, legacy id and stanza of each item, in reading order.
        full: Whether a row was left out.
        room: Bytes left; negative once the last stanza exceeded the limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._last: int | None = None
        self.rows: list[tuple[int, str, str]] = []
        self.full = False
        self.room = MAX_PAGE

    def add(self, rows: Rows) -> None:
        """Add rows until one does not fit, skipping duplicates."""
        for position, legacy_id, stanza, fits, *_ in rows:
            if position == self._last:
                continue
            if len(self.rows) == self._limit or not fits or self.room <= 0:
                self.full = True
                return
            self._last = position
            self.rows.append((position, legacy_id, stanza))
            self.room -= count_bytes(stanza)


class _StoredArchive:
    def __init__(  # noqa: PLR0913, PLR0917  # passed on by the reader
        self,
        messages: VisibleMessages,
        histories: Histories,
        sealer: Sealer,
        owner: str,
        oldest: int,
        now: int,
        retention: Callable[[], Awaitable[ArchiveRetention]],
        near: int = 0,
    ) -> None:
        self._messages = messages
        self._histories = histories
        self._sealer = sealer
        self._owner = owner
        self._oldest = oldest
        self._now = now
        self._retention = retention
        self._near = near

    async def find(self, ids: Collection[str]) -> Mapping[str, int]:
        opened = {id_: self._sealer.open(self._owner, id_) for id_ in ids}
        sealed = {id_: position for id_, position in opened.items() if position is not None}
        legacy = [id_ for id_ in opened.keys() - sealed.keys() if 0 < len(id_) <= MAX_LEGACY_ID]
        found = {**sealed, **(await self._legacy(legacy))}
        return {id_: position for id_, position in found.items() if position >= self._oldest}

    async def stored(self, positions: Collection[int]) -> frozenset[int]:
        selection = Selection(positions=frozenset(positions))
        rows = await self._select("DISTINCT position", selection)
        return frozenset(position for position, *_ in rows)

    async def occupants(self, positions: Collection[int]) -> Mapping[int, str]:
        selection = Selection(positions=frozenset(positions))
        rows = await self._select("DISTINCT position, occupant", selection)
        return {position: occupant for position, occupant, *_ in rows if occupant}

    async def read(
        self, selection: Selection, limit: int, *, backward: bool = False, skip: int = 0
    ) -> Page:
        if skip:
            selection = await self._behind(selection, skip, backward=backward)
        page = _PageBuilder(limit)
        for window in self._windows(selection, backward=backward):
            left: Selection | None = window
            while left is not None and not page.full:
                rows = await self._page(left, limit + 1, page.room, backward=backward)
                page.add(rows)
                left = _beyond(left, rows[-1][0], backward=backward) if len(rows) > limit else None
        items = [self._item(*row) for row in page.rows]
        return Page(items[::-1] if backward else items, more=page.full)

    def _windows(self, selection: Selection, *, backward: bool) -> Iterator[Selection]:
        """Split a selection into a partition's span near its start and the rest, in reading order.

        A page costs by the parts that may hold its rows, and most pages end within a month.
        """
        low, high = max(selection.low, self._oldest), min(selection.high, self._now)
        border = high - self._near if backward else low + self._near
        whole = not self._near or selection.positions is not None
        if whole or not low < border < high or (not backward and not low):
            yield selection
            return
        older, newer = replace(selection, high=border), replace(selection, low=border + 1)
        yield from (newer, older) if backward else (older, newer)

    async def count(self, selection: Selection, below: int) -> tuple[int, int] | None:
        seconds = STATEMENT_SECONDS if selection.text is None else COUNT_SECONDS
        query = self._query(
            "count(), countIf(position < {below:Int128})",
            selection,
            {"below": below},
            source=FINAL,
            settings=f"SETTINGS max_threads = 1, max_execution_time = {seconds}, {FINAL_SETTINGS}",
        )
        try:
            [[total, before, *_]] = await self._messages.select(query)
        except StatementTimeout:
            if selection.text is None:
                raise
            return None
        return total, before

    async def summarise(self, selection: Selection, below: int) -> tuple[int, int, int]:
        query = self._query(
            "count(), min(position), countIf(position < {below:Int128})",
            selection,
            {"below": below},
            source=FINAL,
            settings=f"{SETTINGS}, {FINAL_SETTINGS}",
        )
        [[number, first, before, *_]] = await self._messages.select(query)
        return number, first, before

    async def history(self) -> History:
        histories = await self._messages.call(self._histories.read, [self._owner])
        return histories[self._owner]

    async def retention(self) -> ArchiveRetention:
        return await self._retention()

    async def conversations(self, displayed: Mapping[str, int]) -> Sequence[Conversation]:
        inbox = await self.inbox(Inbox(), MAX_POSITION)
        return inbox.conversations(displayed, self._oldest)

    async def room_conversation(self, account: str, displayed: int) -> Conversation:
        rows = await self._newest_in_room(account)
        if len(rows) == MAX_ROOM_MESSAGES and len({row[0] for row in rows}) < MAX_ROOM_MESSAGES:
            # Repeats have taken the room of older messages. To drop them reads the whole archive.
            rows = await self._newest_in_room(account, "LIMIT 1 BY position")
        spoken = {position: is_own for position, words, is_own, *_ in rows if words}
        own = max((position for position, is_own in spoken.items() if is_own), default=0)
        unread = {row[0] for row in rows if row[3] and row[0] > max(own, displayed)}
        return Conversation(self._owner, max(spoken, default=0), len(unread))

    async def _newest_in_room(self, account: str, once: str = "") -> Rows:
        query = self._query(
            ROOM_COLUMNS,
            Selection(),
            {"account": account, "limit": MAX_ROOM_MESSAGES},
            tail=f"ORDER BY position DESC {once} LIMIT {{limit:UInt64}}",
        )
        query = replace(query, where=[*query.where, NO_ERROR], by_traits=True)
        return await self._messages.select(query)

    async def inbox(self, known: Inbox, up_to: int) -> Inbox:
        open_id = partial(self._sealer.open, self._owner)
        conversations = Conversations(self._messages, self._owner, open_id, SETTINGS)
        return await conversations.read(known, self._oldest, up_to)

    async def _page(self, selection: Selection, limit: int, room: int, *, backward: bool) -> Rows:
        """Select the first rows in reading order, duplicates included."""
        order = "DESC" if backward else "ASC"
        # Reading in key order stops at the limit, however large the archive. A peer's messages may
        # be sparse: scanning that column at once is faster then.
        settings = f"{SETTINGS}, optimize_read_in_order = {int(not selection.peer)}"
        query = self._query(
            "position, legacy_id, stanza, true",
            selection,
            {"limit": limit, "room": room},
            tail="LIMIT {limit:UInt64}",
            order=order,
            settings=f"{settings}, {BOUND}",
        )
        try:
            return await self._messages.select(query)
        # A server that has begun to send a long answer breaks off without a reason.
        except (ResultTooLarge, AnswerCut):
            statement = f"{_fitting(query.filtered, order)} {settings}"
            return await self._messages.run(statement, query.parameters, by_text=query.by_text)

    async def _behind(self, selection: Selection, skip: int, *, backward: bool) -> Selection:
        """Narrow a selection to the items after the first `skip`."""
        order = "DESC" if backward else "ASC"
        tail = f"ORDER BY position {order} LIMIT 1 OFFSET {{skip:UInt64}}"
        rows = await self._select("DISTINCT position", selection, tail, skip=skip - 1)
        return _beyond(selection, rows[0][0], backward=backward) if rows else _NOTHING

    async def _legacy(self, ids: Sequence[str]) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for some in chunks(ids, str):
            query = self._query(
                "legacy_id, min(position)", Selection(), {"ids": some}, tail="GROUP BY legacy_id"
            )
            where = [*query.where, "legacy_id IN {ids:Array(String)}"]
            rows = await self._messages.select(replace(query, where=where))
            found.update({id_: position for id_, position, *_ in rows})
        return found

    async def _select(
        self, columns: str, selection: Selection, tail: str = "", **parameters: Any
    ) -> Rows:
        return await self._messages.select(self._query(columns, selection, parameters, tail=tail))

    def _query(  # noqa: PLR0913  # the clauses of a statement
        self,
        columns: str,
        selection: Selection,
        parameters: Mapping[str, Any] | None = None,
        *,
        tail: str = "",
        source: str = MESSAGES,
        order: str = "",
        settings: str = SETTINGS,
    ) -> Query:
        """Build a query for the messages of a selection."""
        where, values = self._where(selection)
        return Query(
            columns,
            where,
            {**values, **(parameters or {})},
            tail,
            source,
            order,
            by_text=selection.text is not None,
            settings=settings,
        )

    def _where(self, selection: Selection) -> tuple[Sequence[str], Mapping[str, Any]]:
        low, high = max(selection.low, self._oldest), selection.high
        parameters: dict[str, Any] = {"owner": self._owner}
        if low > high:
            return ["false"], parameters
        terms = [
            "owner = {owner:String}",
            "position BETWEEN {low:UInt64} AND {high:UInt64}",
            NO_PRESENCE,
        ]
        party, parties = match_party(selection.peer, selection.resource)
        terms += party
        parameters |= {"low": low, "high": high, **parties}
        if not selection.groupchat:
            terms.append("kind != 'groupchat'")
        if selection.positions is not None:
            terms.append("position IN {positions:Array(UInt64)}")
            parameters["positions"] = sorted(selection.positions)
        if selection.text is not None:
            matching, texts = full_text.conditions(selection.text)
            terms += matching
            parameters |= texts
        return terms, parameters

    def _item(self, position: int, legacy_id: str, stanza: str) -> Item:
        return Item(position, legacy_id or self._sealer.seal(self._owner, position), stanza)


def _fitting(rows: str, order: str) -> str:
    """Wrap a statement so that stanzas beyond the page's bytes stay on the server.

    Costs half as much again.
    """
    fits = f"""
        sum(length(stanza)) OVER (ORDER BY position {order} ROWS UNBOUNDED PRECEDING)
            - length(stanza) < {{room:Int64}} AS fits"""
    columns = f"position, legacy_id, if(fits, stanza, ''), {fits}"
    return select(columns, tail=f"ORDER BY position {order}", source=f"({rows})")


def _beyond(selection: Selection, position: int, *, backward: bool) -> Selection:
    """Narrow a selection to positions after one, in reading order."""
    if backward:
        return replace(selection, high=position - 1)
    return replace(selection, low=position + 1)

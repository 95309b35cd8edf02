"""Snapshots of archives in memory: small archives whole, of large ones the newest messages.

A snapshot is used only while it is proven current: the tap stamps each request with an upper bound
of the positions of the owner's messages, and whatever changes an archive behind the tap's back
(an erasure, an import, a replay) announces a change in the store.
"""

import asyncio
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from sys import getsizeof
from typing import Protocol

from query.request import Request
from stanzalake.errors import ResultTooLarge
from stanzalake.model.history import History
from stanzalake.model.inbox import Inbox
from stanzalake.model.page import (
    MAX_PAGE,
    Archive,
    ArchiveRetention,
    Conversation,
    Item,
    NewestMessages,
    Page,
    Selection,
    StoredMessage,
    count_bytes,
)
from stanzalake.model.position import MAX_POSITION, Sealer
from stanzalake.observability.metrics import SNAPSHOTS

FIRST_MESSAGES = 300
"""Messages of an owner's first snapshot at most: the first page should not wait for more."""
SNAPSHOT_MESSAGES = 5_000
"""Messages of a snapshot at most, once requests needed more than the first had."""
_FEW = 2_000
"""Messages beyond the first snapshot that are loaded once a single request needed some."""
_MISSES = 4
"""Requests beyond the first snapshot after which a larger one is loaded; it costs two of them."""
SNAPSHOT_BYTES = 2 * 1024 * 1024
"""Bytes of stanzas of a snapshot at most."""
INBOX_BYTES = 1024 * 1024
"""Bytes of an inbox that is kept at most, about 1,500 conversations."""
_OVERHEAD = 450
"""Bytes that a message takes besides its stanza, about; its sealed id is 100 of them."""


MAX_COUNTS = 32
"""Selections of which a snapshot remembers how many older messages they have."""
_MAX_NAME = 200
"""Characters of a peer's JID in such a selection at most."""
_COUNTS_BYTES = 16 * 1024
"""Bytes of these counts, about."""


@dataclass(frozen=True)
class Older:
    """Number of a selection's messages that are older than a snapshot.

    Attributes:
        number: The number.
        first: Position of the first of them; 0 without any.
        horizon: The retention horizon when they were counted.
    """

    number: int
    first: int
    horizon: int

    def holds(self, horizon: int) -> bool:
        """Tell whether none of them has expired, or come back, by another horizon."""
        return self.horizon <= horizon and (not self.number or horizon <= self.first)

    def add(self, positions: Sequence[int]) -> "Older":
        """Return the count with further messages, which follow."""
        if not positions:
            return self
        return replace(self, number=self.number + len(positions), first=self.first or positions[0])


@dataclass(frozen=True)
class Snapshot:
    """Consecutive newest messages of an archive.

    Attributes:
        messages: The messages, oldest first.
        floor: Lowest position from which on the snapshot is complete; 0 if it is whole.
        newest: The tap's upper bound of the owner's positions before it was taken.
        change: Number of the owner's last announced change when it was taken.
        limit: Messages at most.
        own: The owner's own retention in seconds, a change of which is announced; 0 for none.
        older: Counts of the messages below the floor, by selections without bounds.
        ids: Sealed ids of the positions that were read, each of which would take two HMACs again.
        inbox: The conversations as of a position at or below `newest`.
    """

    messages: Sequence[StoredMessage]
    floor: int
    newest: int
    change: int
    limit: int = SNAPSHOT_MESSAGES
    own: int = 0
    older: dict[Selection, Older] = field(default_factory=dict, compare=False)
    ids: dict[int, str] = field(default_factory=dict, compare=False)
    inbox: Inbox = field(default_factory=Inbox, compare=False)

    @cached_property
    def positions(self) -> Sequence[int]:
        """Positions of the messages."""
        return [message.position for message in self.messages]

    @cached_property
    def size(self) -> int:
        """Bytes in memory, about."""
        stanzas = sum(getsizeof(message.stanza) + _OVERHEAD for message in self.messages)
        return stanzas + (_COUNTS_BYTES if self.floor else 0) + self.inbox.size

    def extend(self, messages: Sequence[StoredMessage], newest: int) -> "Snapshot":
        """Return the snapshot with all messages above its `newest`, cut to its bounds."""
        known = self.messages[: bisect_right(self.positions, self.newest)]
        return replace(self, messages=[*known, *messages], newest=newest).cut()

    def cut(self) -> "Snapshot":
        """Return the snapshot without the oldest messages that pass its bounds."""
        room, kept = SNAPSHOT_BYTES, 0
        for message in islice(reversed(self.messages), self.limit):
            room -= getsizeof(message.stanza)
            if room < 0:
                break
            kept += 1
        if kept == len(self.messages):
            return self
        border = len(self.messages) - kept
        dropped, messages = self.messages[:border], self.messages[border:]
        floor = messages[0].position if messages else dropped[-1].position + 1
        older, ids = self._count_older(dropped), self._keep_ids(floor)
        return replace(self, messages=messages, floor=floor, older=older, ids=ids)

    def _count_older(self, dropped: Sequence[StoredMessage]) -> dict[Selection, Older]:
        """Return the counts with messages that the snapshot drops."""
        return {
            selection: older.add([m.position for m in dropped if selection.selects(m)])
            for selection, older in self.older.items()
        }

    def _keep_ids(self, low: int) -> dict[int, str]:
        """Return the ids of the positions from a position on."""
        return {position: id_ for position, id_ in self.ids.items() if position >= low}


def _empty(change: int, limit: int) -> Snapshot:
    """Return a snapshot before the first load, under the number of the last change."""
    return Snapshot((), 0, -1, change, limit)


class CachedArchive:
    """An archive that answers from a snapshot if the answer is the same, else from the store.

    Args:
        snapshot: A snapshot that is current.
        stored: The archive in the store.
        seal: Returns the id of a position of the owner.
        summarise: Returns the number of a selection's messages in the store, and the first.
        oldest: The retention horizon: lowest position that is shown.
        inbox: Returns the inbox as of the snapshot.
        vanishing: Position below which messages may be vanishing from the store.
        on_miss: Called when the snapshot does not reach far enough, with whether a larger one
            will surely pay: for the rest of a walk backward, or of a small archive.
    """

    def __init__(  # noqa: PLR0913  # the proofs of a snapshot
        self,
        snapshot: Snapshot,
        stored: Archive,
        seal: Callable[[int], str],
        summarise: Callable[[Selection], Awaitable[tuple[int, int]]],
        oldest: int,
        *,
        inbox: Callable[[], Awaitable[Inbox]],
        vanishing: int = 0,
        on_miss: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._summarise = summarise
        self._inbox = inbox
        self._is_vanishing = vanishing > oldest
        self._floor = max(snapshot.floor, vanishing if self._is_vanishing else 0)
        self._on_miss = on_miss
        self._snapshot = snapshot
        self._stored = stored
        self._seal = seal
        self._oldest = oldest
        self._positions = snapshot.positions
        self._ids = snapshot.ids

    async def find(self, ids: Collection[str]) -> Mapping[str, int]:
        """Return the position of each id that is valid in this archive, stored or not."""
        return await self._stored.find(ids)

    async def stored(self, positions: Collection[int]) -> frozenset[int]:
        """Return the positions that hold an item."""
        shown = {position for position in positions if position >= self._oldest}
        if all(map(self._covers, shown)):
            return frozenset(self._positions).intersection(shown)
        return await self._stored.stored(positions)

    async def occupants(self, positions: Collection[int]) -> Mapping[int, str]:
        """Return the authors' real bare JIDs of a room's messages, as far as they are known."""
        return await self._stored.occupants(positions)

    async def read(
        self, selection: Selection, limit: int, *, backward: bool = False, skip: int = 0
    ) -> Page:
        """Return the first or the last items of a selection."""
        if selection.text is not None:
            return await self._stored.read(selection, limit, backward=backward, skip=skip)
        found = self._scan(selection, backward=backward)
        if found is not None:
            page, ended = self._collect(islice(found, skip, None), limit)
            # Behind the last message of a part of an archive may be more.
            if not ended or self._reaches(selection):
                return Page(page[::-1] if backward else page, more=not ended)
        walks = backward and not selection.peer and selection.high >= self._floor
        self._on_miss(walks or self._is_small())
        return await self._stored.read(selection, limit, backward=backward, skip=skip)

    async def history(self) -> History:
        """Return the owner's preferences, activations and erasures, oldest first."""
        return await self._stored.history()

    async def retention(self) -> ArchiveRetention:
        """Return for how long messages are kept."""
        return await self._stored.retention()

    async def count(self, selection: Selection, below: int) -> tuple[int, int] | None:
        """Return the number of items of a selection, and of those below a position."""
        if selection.text is not None:
            return await self._stored.count(selection, below)
        older = 0
        if not self._reaches(selection):
            if not self._may_add(selection, below):
                return await self._stored.count(selection, below)
            older = await self._older(replace(selection, low=0, high=MAX_POSITION))
        positions = self._matching_positions(selection)
        return older + len(positions), older + bisect_left(positions, below)

    def _may_add(self, selection: Selection, below: int) -> bool:
        """Tell whether a count is that of all older messages and that of a part of the snapshot."""
        floor = self._snapshot.floor
        return (
            selection.positions is None
            and selection.low <= self._oldest
            and min(selection.high + 1, below) >= floor
            # Else older messages may still come, or be vanishing.
            and floor <= self._snapshot.newest + 1
            and self._floor == floor
        )

    async def _older(self, selection: Selection) -> int:
        """Return the number of a selection's messages that are older than the snapshot."""
        known = self._snapshot.older
        older = known.get(selection)
        if older is None or not older.holds(self._oldest):
            bounded = replace(selection, low=self._oldest, high=self._snapshot.floor - 1)
            older = Older(*await self._summarise(bounded), self._oldest)
            is_short = len(selection.peer + selection.resource) <= _MAX_NAME
            if is_short and (selection in known or len(known) < MAX_COUNTS):
                known[selection] = older
        return older.number

    async def conversations(self, displayed: Mapping[str, int]) -> Sequence[Conversation]:
        """Return the conversations, the one with the newest message first."""
        if self._is_vanishing:
            return await self._stored.conversations(displayed)
        return (await self._inbox()).conversations(displayed, self._oldest)

    async def room_conversation(self, account: str, displayed: int) -> Conversation:
        """Return a room's archive as a conversation of an account."""
        return await self._stored.room_conversation(account, displayed)

    def _is_small(self) -> bool:
        """Tell whether the archive is known to have few more messages than the snapshot."""
        older = self._snapshot.older.get(Selection())
        return older is not None and older.number <= _FEW

    def _covers(self, position: int) -> bool:
        return self._floor <= position

    def _reaches(self, selection: Selection) -> bool:
        """Tell whether all that a selection may select is in the snapshot."""
        first = 0 if selection.positions is None else min(selection.positions, default=MAX_POSITION)
        return self._covers(max(selection.low, self._oldest, first))

    def _scan(self, selection: Selection, *, backward: bool) -> Iterator[StoredMessage] | None:
        """Yield the selected messages in reading order; None if the first may be missing."""
        begins = backward and selection.high >= self._floor
        if not begins and not self._reaches(selection):
            return None
        messages = self._snapshot.messages[self._bounds(selection)]
        return filter(selection.selects, reversed(messages) if backward else messages)

    def _matching_positions(self, selection: Selection) -> Sequence[int]:
        bounds = self._bounds(selection)
        if selection.is_range:
            return self._positions[bounds]
        return [m.position for m in self._snapshot.messages[bounds] if selection.selects(m)]

    def _bounds(self, selection: Selection) -> slice:
        """Return the place of a selection's bounds in the snapshot."""
        low = bisect_left(self._positions, max(selection.low, self._oldest, self._floor))
        return slice(low, bisect_left(self._positions, selection.high + 1))

    def _collect(self, messages: Iterable[StoredMessage], limit: int) -> tuple[list[Item], bool]:
        """Return the items of a page, and whether none is left."""
        items: list[Item] = []
        room = MAX_PAGE
        for message in messages:
            if len(items) == limit or room <= 0:
                return items, False
            items.append(self._item(message))
            room -= count_bytes(message.stanza)
        return items, True

    def _item(self, message: StoredMessage) -> Item:
        position = message.position
        id_ = message.legacy_id or self._ids.get(position) or self._seal_once(position)
        return Item(position, id_, message.stanza)

    def _seal_once(self, position: int) -> str:
        """Return the id of a position, and keep it with the snapshot."""
        id_ = self._ids[position] = self._seal(position)
        return id_


class Source(Protocol):
    """Archives in the store."""

    def archive(self, owner: str) -> Archive:
        """Return an owner's archive, with the retention horizon as of now."""

    def horizon(self, owner: str, own: int = 0) -> int:
        """Return the lowest position that is shown now.

        Args:
            owner: Bare JID.
            own: The owner's own retention in seconds; 0 for none.
        """

    async def own_retention(self, owner: str) -> int:
        """Return an owner's own retention in seconds; 0 for none."""

    async def newest(self, owner: str, low: int, limit: int) -> NewestMessages:
        """Return the newest messages of an owner from a position on.

        Args:
            owner: Bare JID.
            low: The position.
            limit: Number of messages at most.

        Raises:
            ResultTooLarge: Their stanzas are too large to be held.
        """

    async def summarise(self, owner: str, selection: Selection) -> tuple[int, int]:
        """Return the number of a selection's messages, and the position of the first, else 0.

        Nothing expires meanwhile: the selection has the horizon.
        """

    async def inbox(self, owner: str, known: Inbox, up_to: int) -> Inbox:
        """Return an owner's inbox with the messages up to a position.

        Args:
            owner: Bare JID.
            known: The inbox as of an earlier position; nothing older has changed since.
            up_to: The position.
        """


class Changes(Protocol):
    """Changes of archives that no tap stamped."""

    @property
    def horizon(self) -> int:
        """The position below which messages may be vanishing from the store."""

    def read(self, owner: str) -> int | None:
        """Return the number of the owner's last change; None during one, or if it is unknown."""

    async def refresh(self, owner: str) -> int | None:
        """Ask the store, and return the number of the owner's last change; None during one.

        Raises:
            StoreUnavailable: The store does not answer.
        """


class PageCache:
    """Opens archives, from a snapshot where one is proven current.

    Args:
        source: Archives in the store.
        sealer: Seals ids.
        changes: Changes that no tap stamped.
        limit: Bytes of all snapshots at most; 0 turns the cache off.
    """

    def __init__(self, source: Source, sealer: Sealer, changes: Changes, limit: int) -> None:
        self._source = source
        self._sealer = sealer
        self._changes = changes
        self._limit = limit
        self._snapshots: OrderedDict[str, Snapshot] = OrderedDict()
        self._size = 0
        self._loads: dict[str, asyncio.Lock] = {}
        self._misses: dict[str, int] = {}

    async def prepare(self, request: Request, *, current: bool) -> bool:
        """Load a snapshot of the archive of a request, or bring it up to date.

        Args:
            request: The request.
            current: Whether the store has all messages announced before the request.

        Returns:
            Whether it is kept; else to open one would load it again.
        """
        proof = self._prove(request, current=current)
        if proof is None or await self._current(request.owner, *proof) is None:
            return False
        return request.owner in self._snapshots

    async def archive(self, request: Request, *, current: bool) -> Archive:
        """Open the archive of a request.

        Args:
            request: The request.
            current: The result of `prepare`.
        """
        owner = request.owner
        stored = self._source.archive(owner)
        proof = self._prove(request, current=current)
        snapshot = await self._reopen(owner, *proof) if proof else None
        if snapshot is None:
            return stored
        return CachedArchive(
            snapshot,
            stored,
            partial(self._sealer.seal, owner),
            partial(self._source.summarise, owner),
            self._source.horizon(owner, snapshot.own),
            inbox=partial(self._inbox, owner, snapshot),
            vanishing=self._changes.horizon,
            on_miss=partial(self._miss, owner),
        )

    def _prove(self, request: Request, *, current: bool) -> tuple[int, int] | None:
        """Return `newest` and `change` of a snapshot that is current now; None if none is."""
        change = self._changes.read(request.owner) if self._limit and current else None
        return None if change is None or request.newest is None else (request.newest, change)

    async def _reopen(self, owner: str, newest: int, change: int) -> Snapshot | None:
        """Return the snapshot that was prepared, or another if it is not current any more."""
        known = self._snapshots.get(owner)
        if known and (known.newest, known.change) == (newest, change):
            return known
        return await self._current(owner, newest, change)

    async def _inbox(self, owner: str, snapshot: Snapshot) -> Inbox:
        """Return the inbox as of a snapshot, and keep it with what is current by then."""
        inbox = await self._source.inbox(owner, snapshot.inbox, snapshot.newest)
        kept = self._snapshots.get(owner)
        if inbox.size > INBOX_BYTES or inbox is snapshot.inbox:
            return inbox
        if kept and kept.change == snapshot.change and inbox.up_to <= kept.newest:
            self._keep(owner, replace(kept, inbox=inbox))
        return inbox

    def _miss(self, owner: str, pays: bool) -> None:  # called by position alone
        """Count a request beyond a snapshot: the next request may load a larger one."""
        if owner in self._snapshots:
            self._misses[owner] = _MISSES if pays else self._misses.get(owner, 0) + 1

    async def _current(self, owner: str, newest: int, change: int) -> Snapshot | None:
        """Return the owner's snapshot, brought up to date; None if it cannot be held."""
        lock = self._loads.setdefault(owner, asyncio.Lock())
        try:
            async with lock:
                snapshot = await self._update(owner, self._snapshots.get(owner), newest, change)
                if snapshot is not None:
                    self._keep(owner, snapshot)
                return snapshot
        except ResultTooLarge:
            return None
        finally:
            if not lock.locked():
                self._loads.pop(owner, None)

    async def _update(
        self, owner: str, known: Snapshot | None, newest: int, change: int
    ) -> Snapshot | None:
        is_large = known is None or known.limit == SNAPSHOT_MESSAGES
        if known and not is_large and self._misses.get(owner, 0) >= _MISSES:
            known = await self._enlarge(owner, known)
            self._misses.pop(owner, None)  # another archive may have taken its room meanwhile
        # A lower bound than before comes from a Prosody whose journal was lost.
        if known is None or known.change != change or known.newest > newest:
            known = _empty(change, FIRST_MESSAGES)
        if known.newest == newest:
            SNAPSHOTS.labels("current").inc()
            return known
        if known.newest >= 0:
            # The new events may be an erasure, which is announced before it is committed.
            now = await self._changes.refresh(owner)
            if now is None:
                return None
            if now != known.change:
                known = _empty(now, FIRST_MESSAGES)
        SNAPSHOTS.labels("loaded" if known.newest < 0 else "extended").inc()
        return await self._extend(owner, known, newest)

    async def _enlarge(self, owner: str, known: Snapshot) -> Snapshot:
        """Load a larger snapshot in place of the first, if its messages are not too large."""
        empty = replace(_empty(known.change, SNAPSHOT_MESSAGES), inbox=known.inbox)
        try:
            return await self._extend(owner, empty, known.newest)
        except ResultTooLarge:
            return replace(known, limit=SNAPSHOT_MESSAGES)

    async def _extend(self, owner: str, known: Snapshot, newest: int) -> Snapshot:
        horizon = self._source.horizon(owner, known.own)
        low = max(known.newest + 1, horizon)
        found = await self._source.newest(owner, low, known.limit)
        is_first = known.newest < 0
        if is_first and not found.is_plain:
            known = replace(known, own=await self._source.own_retention(owner))
            horizon = self._source.horizon(owner, known.own)
        if horizon > known.newest:
            # What has expired is not read, and is shown again if the clock is set back.
            known = replace(known, floor=max(known.floor, horizon), older={})
        if not found.floor:
            return known.extend(found.messages, newest)
        older = {s: Older(*counted, low) for s, counted in found.older.items() if is_first}
        return replace(
            known,
            messages=found.messages,
            floor=found.floor,
            newest=newest,
            older=older,
            ids={},
        ).cut()

    def _keep(self, owner: str, snapshot: Snapshot) -> None:
        """Remember a snapshot, and drop those that were used longest ago."""
        old = self._snapshots.pop(owner, None)
        self._snapshots[owner] = snapshot
        self._size += snapshot.size - (old.size if old else 0)
        while self._size > self._limit:
            oldest, dropped = self._snapshots.popitem(last=False)
            self._size -= dropped.size
            self._misses.pop(oldest, None)

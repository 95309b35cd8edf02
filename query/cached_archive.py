"""An archive that answers from memory where a snapshot of it is current."""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

from query.read_ahead import AHEAD_BYTES, AHEAD_MESSAGES, Segment
from query.snapshot import Older, Snapshot
from stanzalake.model.history import History
from stanzalake.model.inbox import Inbox
from stanzalake.model.page import (
    MAX_PAGE,
    Archive,
    ArchiveRetention,
    Conversation,
    Item,
    Page,
    Selection,
    StoredMessage,
    count_bytes,
)
from stanzalake.model.position import MAX_POSITION

_FEW = 2_000
"""Messages beyond the first snapshot that are loaded as soon as a request needs some."""


class CachedArchive:
    """An archive that answers from a snapshot if the answer is the same, else from the store.

    Args:
        snapshot: A snapshot that is current.
        stored: The archive in the store.
        seal: Returns the id of a position of the owner.
        summarise: Returns the number of a selection's messages in the store, the position of the
            first, and the number of those below a position.
        oldest: The retention horizon: lowest position that is shown.
        inbox: Returns the inbox as of the snapshot.
        vanishing: Position below which messages may be vanishing from the store.
        enlarge: Returns the archive with a larger snapshot; None if there is none.
        on_miss: Called when the snapshot of a large archive does not reach far enough.
        on_read: Called with the messages of each page that is read from the store.
    """

    def __init__(  # noqa: PLR0913  # the proofs of a snapshot
        self,
        snapshot: Snapshot,
        stored: Archive,
        seal: Callable[[int], str],
        summarise: Callable[[Selection, int], Awaitable[tuple[int, int, int]]],
        oldest: int,
        *,
        inbox: Callable[[], Awaitable[Inbox]],
        enlarge: Callable[[], Awaitable[Archive]] | None = None,
        vanishing: int = 0,
        on_miss: Callable[[], None] = lambda: None,
        on_read: Callable[[Segment], None] = lambda _: None,
    ) -> None:
        self._summarise = summarise
        self._inbox = inbox
        self._enlarge = enlarge
        self._is_vanishing = vanishing > oldest
        self._floor = max(snapshot.floor, vanishing if self._is_vanishing else 0)
        self._on_miss = on_miss
        self._on_read = on_read
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
            items, ended = _collect(map(self._item, islice(found, skip, None)), limit)
            # Behind the last message of a part of an archive may be more.
            if not ended or self._reaches(selection):
                return _page(items, backward=backward, more=not ended)
        larger = await self._larger()
        if larger is not None:
            return await larger.read(selection, limit, backward=backward, skip=skip)
        if skip or not self._may_add(selection):
            self._on_miss()
            return await self._stored.read(selection, limit, backward=backward, skip=skip)
        return await self._read_older(selection, limit, backward=backward)

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
        if self._reaches(selection):
            positions = self._matching_positions(selection)
            return len(positions), bisect_left(positions, below)
        if not self._may_add(selection):
            return await self._stored.count(selection, below)
        older = self._recall_older(selection, below)
        if older is None:
            larger = await self._larger()
            if larger is not None:
                return await larger.count(selection, below)
            older = await self._count_older(selection, below)
        return self._add_newer(older, selection, below)

    def _may_add(self, selection: Selection) -> bool:
        """Tell whether messages below the snapshot may be remembered, and added to it."""
        # Else older messages may still come, or be vanishing.
        is_settled = self._snapshot.is_settled and not self._is_vanishing
        return is_settled and selection.positions is None

    async def conversations(self, displayed: Mapping[str, int]) -> Sequence[Conversation]:
        """Return the conversations, the one with the newest message first."""
        if self._is_vanishing or self._snapshot.has_newer:
            return await self._stored.conversations(displayed)
        return (await self._inbox()).conversations(displayed, self._oldest)

    async def room_conversation(self, account: str, displayed: int) -> Conversation:
        """Return a room's archive as a conversation of an account."""
        return await self._stored.room_conversation(account, displayed)

    async def _larger(self) -> Archive | None:
        """Return the archive with what its snapshot lacks, if that is little; else None."""
        older = self._snapshot.older.get(Selection())
        is_small = older is not None and older.number <= _FEW
        return await self._enlarge() if self._enlarge and is_small else None

    def _covers(self, position: int) -> bool:
        return self._floor <= position

    def _reaches(self, selection: Selection) -> bool:
        """Tell whether all that a selection may select is in the snapshot."""
        first = 0 if selection.positions is None else min(selection.positions, default=MAX_POSITION)
        low = max(selection.low, self._oldest, first)
        return self._covers(low) or low > selection.high

    def _scan(self, selection: Selection, *, backward: bool) -> Iterator[StoredMessage] | None:
        """Yield the selected messages in reading order; None if the first may be missing."""
        begins = backward and selection.high >= self._floor
        if not begins and not self._reaches(selection):
            return None
        return self._scan_snapshot(selection, backward=backward)

    def _scan_snapshot(self, selection: Selection, *, backward: bool) -> Iterator[StoredMessage]:
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

    async def _read_older(self, selection: Selection, limit: int, *, backward: bool) -> Page:
        """Return a page that begins or ends below the snapshot."""
        older = self._older_part(selection)
        begin = older.high if backward else older.low
        segment = self._snapshot.read_ahead.find(selection, begin)
        if segment is not None:
            page, is_known = self._join(segment, selection, limit, backward=backward)
            if is_known:
                return page
        number = self._choose_number(selection, begin, limit, backward=backward)
        found = await self._stored.read(older, number, backward=backward)
        segment = Segment.of(older, found, backward=backward)
        self._on_read(segment.cut(backward=backward))
        return self._join(segment, selection, limit, backward=backward)[0]

    def _older_part(self, selection: Selection) -> Selection:
        """Return the shown part of a selection below the snapshot."""
        low, high = max(selection.low, self._oldest), min(selection.high, self._floor - 1)
        return replace(selection, low=low, high=high)

    def _choose_number(
        self, selection: Selection, begin: int, limit: int, *, backward: bool
    ) -> int:
        """Return how many messages to read for a page: the next one tells whether there are more.

        A client that walks through its archive gets several pages from one statement.
        """
        if self._walks(selection, begin, backward=backward):
            ahead = min(AHEAD_MESSAGES, AHEAD_BYTES // self._snapshot.mean_size)
            return max(1, ahead // max(1, limit)) * limit + 1
        self._on_miss()
        return limit + 1

    def _walks(self, selection: Selection, begin: int, *, backward: bool) -> bool:
        """Tell whether a page continues one that was read, or comes from the snapshot."""
        is_filtered = selection.peer and selection.high == MAX_POSITION
        comes_down = backward and selection.high >= self._floor - 1 and not is_filtered
        return comes_down or self._snapshot.read_ahead.is_next(selection, begin)

    def _join(
        self, segment: Segment, selection: Selection, limit: int, *, backward: bool
    ) -> tuple[Page, bool]:
        """Return a page of a segment and the snapshot, and whether they have all of it."""
        part = self._older_part(selection)
        items, ended = _collect(self._known(segment, selection, backward=backward), limit)
        is_all = segment.low <= part.low if backward else segment.high >= part.high
        page = _page(items, backward=backward, more=not (ended and is_all))
        return page, is_all or not ended

    def _known(self, segment: Segment, selection: Selection, *, backward: bool) -> Iterator[Item]:
        """Yield the items of a segment and of the snapshot that it touches, in reading order."""
        part = self._older_part(selection)
        older = segment.select(part.low, part.high)
        if segment.high < self._floor - 1:
            return iter(older[::-1] if backward else older)
        newer = map(self._item, self._scan_snapshot(selection, backward=backward))
        return chain(newer, reversed(older)) if backward else chain(older, newer)

    def _add_newer(self, older: Older, selection: Selection, below: int) -> tuple[int, int]:
        """Remember the number of the messages below the snapshot, and add that of its own."""
        older = replace(older, border=min(below, self._floor))
        self._snapshot.remember(self._name(selection), older)
        newer = self._matching_positions(selection)
        return older.number + len(newer), older.before + bisect_left(newer, below)

    def _recall_older(self, selection: Selection, below: int) -> Older | None:
        """Return how many of a selection are below the snapshot and a position, if known."""
        older = self._snapshot.count_older(self._name(selection), self._oldest)
        if older is None:
            return None
        before = self._count_before(older, self._older_part(selection), below)
        return None if before is None else replace(older, before=before)

    async def _count_older(self, selection: Selection, below: int) -> Older:
        """Ask the store how many of a selection are below the snapshot and a position."""
        number, first, before = await self._summarise(self._older_part(selection), below)
        return Older(number, first, self._oldest, before=before)

    def _name(self, selection: Selection) -> Selection:
        """Return a selection without the bounds that do not bound its messages now."""
        low = selection.low if selection.low > self._oldest else 0
        high = selection.high if selection.high < self._floor - 1 else MAX_POSITION
        return replace(selection, low=low, high=high)

    def _count_before(self, older: Older, part: Selection, below: int) -> int | None:
        """Return how many messages of a part below the snapshot are below a position, if known."""
        if below <= part.low:
            return 0
        if below > part.high:
            return older.number
        known = {part.low: 0, part.high + 1: older.number}
        if part.low < older.border <= part.high:
            known[older.border] = older.before
        if below in known:
            return known[below]
        for segment in self._snapshot.read_ahead.of(part):
            if segment.has_index(below):
                for position, number in known.items():
                    if segment.has_index(position):
                        return number + segment.index(below) - segment.index(position)
        return None

    def _item(self, message: StoredMessage) -> Item:
        position = message.position
        id_ = message.legacy_id or self._ids.get(position) or self._seal_once(position)
        return Item(position, id_, message.stanza)

    def _seal_once(self, position: int) -> str:
        """Return the id of a position, and keep it with the snapshot."""
        id_ = self._ids[position] = self._seal(position)
        return id_


def _collect(items: Iterable[Item], limit: int) -> tuple[list[Item], bool]:
    """Return the items of a page, and whether none is left."""
    collected: list[Item] = []
    room = MAX_PAGE
    for item in items:
        if len(collected) == limit or room <= 0:
            return collected, False
        collected.append(item)
        room -= count_bytes(item.stanza)
    return collected, True


def _page(items: list[Item], *, backward: bool, more: bool) -> Page:
    """Return the page of items in reading order."""
    return Page(items[::-1] if backward else items, more)

"""Messages below a snapshot, read ahead of a client that walks through its archive."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, takewhile
from sys import getsizeof

from stanzalake.model.page import Item, Page, Selection
from stanzalake.model.position import MAX_POSITION

AHEAD_MESSAGES = 500
"""Messages that are read ahead at most, if a page is not larger."""
AHEAD_BYTES = 512 * 1024
"""Bytes of a segment that is kept at most."""
MAX_SEGMENTS = 4
"""Segments of an archive: several clients of an account may walk through it."""

_OVERHEAD = 350
"""Bytes that an item takes besides its stanza, about; its id is 100 of them."""


def count_fitting(sizes: Iterable[int], room: int) -> int:
    """Return how many of the first sizes together are at most a number of bytes."""
    return sum(1 for _ in takewhile(lambda taken: taken <= room, accumulate(sizes)))


def unbounded(selection: Selection) -> Selection:
    """Return a selection without its bounds: its filter."""
    return replace(selection, low=0, high=MAX_POSITION)


@dataclass(frozen=True)
class Segment:
    """Messages of an archive that pass a filter, complete between two positions.

    Attributes:
        filter: A selection without bounds.
        low: The lower position, inclusive.
        high: The upper position, inclusive.
        items: The messages, oldest first.
    """

    filter: Selection
    low: int
    high: int
    items: Sequence[Item]

    @classmethod
    def of(cls, selection: Selection, page: Page, *, backward: bool) -> "Segment":
        """Return the segment of a page of a selection."""
        low, high = selection.low, selection.high
        if page.more:
            ends = page.items[0].position, page.items[-1].position
            low, high = (ends[0], high) if backward else (low, ends[1])
        return cls(unbounded(selection), low, high, page.items)

    @cached_property
    def positions(self) -> Sequence[int]:
        """Positions of the items."""
        return [item.position for item in self.items]

    @cached_property
    def size(self) -> int:
        """Bytes in memory, about."""
        return sum(map(_size, self.items))

    def select(self, low: int, high: int) -> Sequence[Item]:
        """Return the items between two positions, inclusive."""
        return self.items[self.index(low) : self.index(high + 1)]

    def index(self, position: int) -> int:
        """Return the number of items below a position."""
        return bisect_left(self.positions, position)

    def has_index(self, position: int) -> bool:
        """Tell whether the messages between `low` and a position are all known."""
        return self.low <= position <= self.high + 1

    def cut(self, *, backward: bool) -> "Segment":
        """Return the part that was read first and is not too large to be kept."""
        read = reversed(self.items) if backward else self.items
        kept = count_fitting(map(_size, read), AHEAD_BYTES)
        if kept == len(self.items):
            return self
        if backward:
            border = len(self.items) - kept
            low = self.items[border - 1].position + 1
            return replace(self, low=low, items=self.items[border:])
        return replace(self, high=self.items[kept].position - 1, items=self.items[:kept])


class ReadAhead:
    """The segments of an archive that were read last.

    Attributes:
        size: Bytes in memory, about.
    """

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self.size = 0

    def of(self, selection: Selection) -> Iterator[Segment]:
        """Yield the segments with the filter of a selection, the newest first."""
        wanted = unbounded(selection)
        return (segment for segment in reversed(self._segments) if segment.filter == wanted)

    def find(self, selection: Selection, position: int) -> Segment | None:
        """Return a segment with the messages of a selection around a position."""
        found = (each for each in self.of(selection) if each.low <= position <= each.high)
        return next(found, None)

    def is_next(self, selection: Selection, position: int) -> bool:
        """Tell whether a page at a position continues a page that was read."""
        return any(s.low - 1 <= position <= s.high + 1 for s in self.of(selection))

    def add(self, segment: Segment) -> int:
        """Keep a segment in place of those that it continues; return the growth in bytes."""
        others = [each for each in self._segments if not _touch(each, segment)]
        self._segments = [*others, segment][-MAX_SEGMENTS:]
        before, self.size = self.size, sum(each.size for each in self._segments)
        return self.size - before


def _touch(one: Segment, other: Segment) -> bool:
    is_apart = one.high + 1 < other.low or other.high + 1 < one.low
    return one.filter == other.filter and not is_apart


def _size(item: Item) -> int:
    return getsizeof(item.stanza) + _OVERHEAD

"""Pages: which messages of an archive a request selects, and what it gets of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from stanzalake.model.history import History
from stanzalake.model.position import MAX_POSITION

MAX_PAGE = 4 * 1024 * 1024
"""Bytes of stanzas in one page at most, but for the page's first stanza."""

MAX_LEGACY_ID = 255


class Item(NamedTuple):
    """One archived message as its owner sees it. An empty stanza is one that was taken away."""

    position: int
    id: str
    stanza: str


class Page(NamedTuple):
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
    ) -> Page:
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

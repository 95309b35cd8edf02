"""Selections of an archive's messages, and the pages that answer a request."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

from stanzalake.model.full_text import TextQuery
from stanzalake.model.history import History
from stanzalake.model.position import MAX_POSITION

MAX_PAGE = 4 * 1024 * 1024
"""Bytes of stanzas in a page at most; the first stanza of a page may be larger."""

MAX_LEGACY_ID = 255


class Item(NamedTuple):
    """An archived message as its owner sees it; a retracted one has a tombstone for content."""

    position: int
    id: str
    stanza: str


class Page(NamedTuple):
    """Consecutive items, oldest first, and whether more follow in the direction of reading."""

    items: Sequence[Item]
    more: bool


class StoredMessage(NamedTuple):
    """A message with the columns that a selection looks at.

    Attributes:
        position: Position in its owner's archive.
        legacy_id: Id given by the archive that it was imported from; empty if none.
        stanza: The stored stanza.
        peer: Bare JID of the other party.
        resource: Resource of the other party.
        groupchat: Whether it is of type groupchat.
    """

    position: int
    legacy_id: str
    stanza: str
    peer: str
    resource: str
    groupchat: bool


class NewestMessages(NamedTuple):
    """The newest messages of an archive.

    Attributes:
        messages: The messages, oldest first.
        is_plain: Whether nothing of the archive is known to be hidden: no erasure, no tombstone
            and no retention of the owner's own.
        floor: Position of the first of them, if there may be older ones; else 0.
        older: Number and first position, else 0, of the older messages, by selections without
            bounds; of some selections at most.
    """

    messages: Sequence[StoredMessage]
    is_plain: bool
    floor: int = 0
    older: "Mapping[Selection, tuple[int, int]]" = MappingProxyType({})


class Conversation(NamedTuple):
    """The messages with one peer, as an inbox sums them up (XEP-0430).

    Attributes:
        peer: Bare JID of the other party.
        newest: Position of the last message that has words: a body or an encrypted payload.
        unread: Number of such messages that the owner has received and not read, corrections
            left out. Read are those up to the owner's last own message or displayed marker.
    """

    peer: str
    newest: int
    unread: int


class ArchiveRetention(NamedTuple):
    """For how long the messages of an archive are kept: the shorter of two periods, in seconds.

    Attributes:
        own: The owner's choice; 0 for none.
        host: The period of the owner's host; None for ever.
    """

    own: int
    host: int | None


def count_bytes(text: str) -> int:
    """Return the number of bytes of a text in UTF-8; without a copy if it is ASCII."""
    return len(text) if text.isascii() else len(text.encode())


@dataclass(frozen=True)
class Selection:
    """Filter of an archive's items; all conditions apply.

    Attributes:
        low: Lowest position, inclusive; may exceed MAX_POSITION.
        high: Highest position, inclusive; may be negative.
        peer: Bare JID of the other party; empty for any.
        resource: Resource of the other party; empty for any.
        groupchat: Whether to include messages of type groupchat.
        positions: Exact positions; None for any.
        text: Full-text query that the body matches; None for any body.
    """

    low: int = 0
    high: int = MAX_POSITION
    peer: str = ""
    resource: str = ""
    groupchat: bool = True
    positions: frozenset[int] | None = None
    text: TextQuery | None = None

    @property
    def is_range(self) -> bool:
        """Whether each message within `low` and `high` is selected."""
        return self == Selection(self.low, self.high)

    def includes(self, message: StoredMessage) -> bool:
        """Tell whether a message is selected, `text` left aside."""
        return self.low <= message.position <= self.high and self.selects(message)

    def selects(self, message: StoredMessage) -> bool:
        """Tell whether a message within `low` and `high` is selected, `text` left aside."""
        return (
            (not self.peer or message.peer == self.peer)
            and (not self.resource or message.resource == self.resource)
            and (self.groupchat or not message.groupchat)
            and (self.positions is None or message.position in self.positions)
        )


class Archive(Protocol):
    """An owner's archive as of a moment, without the items expired by then."""

    async def find(self, ids: Collection[str]) -> Mapping[str, int]:
        """Return the position of each id that is valid in this archive, stored or not."""

    async def stored(self, positions: Collection[int]) -> frozenset[int]:
        """Return the positions that hold an item."""

    async def occupants(self, positions: Collection[int]) -> Mapping[int, str]:
        """Return the authors' real bare JIDs of a room's messages, as far as they are known."""

    async def read(
        self, selection: Selection, limit: int, *, backward: bool = False, skip: int = 0
    ) -> Page:
        """Return the first or the last items of a selection.

        Args:
            selection: Filter of the items.
            limit: Items at most; fewer if their stanzas are large.
            backward: Whether to read from the newest.
            skip: Number of items to skip.
        """

    async def history(self) -> History:
        """Return the owner's preferences, activations and erasures, oldest first."""

    async def retention(self) -> ArchiveRetention:
        """Return for how long messages are kept."""

    async def count(self, selection: Selection, below: int) -> tuple[int, int] | None:
        """Return the number of items of a selection, and of those below a position.

        None if a full-text query takes too long to be counted.
        """

    async def conversations(self, displayed: Mapping[str, int]) -> Sequence[Conversation]:
        """Return the conversations, the one with the newest message first.

        Args:
            displayed: By peer, a position up to which the owner has read.
        """

    async def room_conversation(self, account: str, displayed: int) -> Conversation:
        """Return a room's archive as a conversation of an account; `newest` is 0 without one.

        Args:
            account: Bare JID of the account, which has read up to its own last message.
            displayed: A position up to which it has read besides.
        """

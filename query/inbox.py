"""The inbox (XEP-0430): an account's conversations, the one with the newest message first.

A room is a conversation that lies in another archive, which its own server is asked about: first
the entry of each room is read from the room's archive, with the rights that the account has there,
then they are listed among the conversations of the account's archive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from query import rooms, rsm
from query.elements import boolean, only
from query.errors import StanzaError
from query.question import Answer, QueryContext, Question, Reads, find_all
from query.request import Request, Result, RoomAnchor, RoomEntry
from query.results import format_results
from stanzalake.errors import InvalidJid
from stanzalake.model import jid
from stanzalake.model.page import Archive, Conversation, Item, Selection
from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import INBOX, RSM, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAME = tag(INBOX, "inbox")


class _Place(NamedTuple):
    """Place of an entry in the inbox: by time, and by room where two archives have the same."""

    position: int
    room: str = ""


class _Entry(NamedTuple):
    """An entry of the inbox.

    Attributes:
        place: Its place; entries are listed from the greatest.
        jid: The peer, or the room.
        unread: Number of unread messages.
        id: Id of the last message; empty until the message is read from the account's archive.
    """

    place: _Place
    jid: str
    unread: int
    id: str = ""

    @classmethod
    def of(cls, conversation: Conversation) -> "_Entry":
        """Return the entry of a conversation in the account's archive."""
        return cls(_Place(conversation.newest), conversation.peer, conversation.unread)

    @classmethod
    def of_room(cls, room: RoomEntry) -> "_Entry":
        """Return the entry of a room."""
        return cls(_Place(room.position, room.jid), room.jid, room.unread, room.id)


@dataclass(frozen=True)
class InboxQuestion:
    """A request for conversations.

    Attributes:
        paging: The requested page; ids are those of the entries.
        unread_only: Whether to leave out conversations without unread messages.
        messages: Whether to give each conversation's last message.
        queryid: Id of the iq, which the results name.
        displayed: By chat, the archive id up to which the owner has read (XEP-0490).
        rooms: Rooms among the conversations, whose last messages the host adds itself.
        anchors: By id, messages of rooms that the page may begin or end at.
    """

    paging: rsm.Paging
    unread_only: bool
    messages: bool
    queryid: str
    displayed: Mapping[str, str] = field(default_factory=dict)
    rooms: Sequence[RoomEntry] = ()
    anchors: Mapping[str, RoomAnchor] = field(default_factory=dict)
    kind: ClassVar[str] = "inbox"
    filtered: ClassVar[bool] = False
    by_text: ClassVar[bool] = False
    reads: ClassVar[Reads] = "messages"
    activates: ClassVar[bool] = True

    async def answer(self, context: QueryContext) -> Answer:
        """Read a page of conversations (XEP-0430 §3.1)."""
        archive = context.archive
        own = await archive.conversations(await _displayed(archive, self.displayed))
        known = sorted(
            [*map(_Entry.of, own), *map(_Entry.of_room, self.rooms)],
            key=lambda entry: entry.place,
            reverse=True,
        )
        listed = [entry for entry in known if entry.unread or not self.unread_only]
        shown = await self._page(archive, listed, context.limit)
        items = await self._items(archive, shown)
        # What the page does not hold is at the end that the client pages to.
        entries = [e for e in shown if e.place.room or e.place.position in items]
        results = [self._result(entry, items) for entry in entries]
        place = rsm.emit(len(listed))
        if entries:
            index = listed.index(entries[0])
            place = rsm.emit(
                len(listed), index, *(_id(e, items) for e in (entries[0], entries[-1]))
            )
        return Answer(_fin(known, place), results)

    async def _items(self, archive: Archive, shown: Sequence[_Entry]) -> Mapping[int, Item]:
        """Give the last messages of conversations, as many as a page holds, by position."""
        positions = frozenset(entry.place.position for entry in shown if not entry.place.room)
        page = await archive.read(
            Selection(positions=positions), len(positions), backward=not self.paging.backward
        )
        return {item.position: item for item in page.items}

    async def _page(
        self, archive: Archive, listed: Sequence[_Entry], limit: int
    ) -> Sequence[_Entry]:
        """Give the requested conversations."""
        paging = self.paging
        after, before = await self._places(archive)
        size = paging.size(limit)
        first, end = paging.index, len(listed)
        if after is not None:
            first = sum(entry.place >= after for entry in listed)
        if before is not None:
            end = sum(entry.place > before for entry in listed)
        if paging.backward:
            first = max(first, end - size)
        return listed[first : min(end, first + size)]

    async def _places(self, archive: Archive) -> Sequence[_Place | None]:
        """Give the places of both ends of the requested page, as far as it has any."""
        ends = (self.paging.after, self.paging.before)
        found = await find_all(archive, (id_ for id_ in ends if id_ not in self.anchors))
        places = {id_: _Place(position) for id_, position in found.items()}
        places |= {id_: _Place(one.position, one.jid) for id_, one in self.anchors.items()}
        return [places[id_] if id_ else None for id_ in ends]

    def _result(self, entry: _Entry, items: Mapping[int, Item]) -> Result:
        position = entry.place.position
        markup_ = _entry(entry.jid, entry.unread, _id(entry, items))
        if not self.messages or entry.place.room:
            return Result(position, markup_)
        [result] = format_results([items[position]], self.queryid)
        return result._replace(content=markup_ + result.content)


@dataclass(frozen=True)
class RoomInboxQuestion:
    """A request for the entry of a single room, in the inbox of an account that may read it.

    Attributes:
        account: Bare JID of the account.
        messages: Whether to give the room's last message.
        queryid: Id of the iq, which the result names.
        displayed: By room, the archive id up to which the account has read (XEP-0490).
    """

    account: str
    messages: bool
    queryid: str
    displayed: Mapping[str, str]
    kind: ClassVar[str] = "inbox"
    filtered: ClassVar[bool] = False
    by_text: ClassVar[bool] = False
    reads: ClassVar[Reads] = "messages"
    activates: ClassVar[bool] = False

    async def answer(self, context: QueryContext) -> Answer:
        """Give the room's entry, with the last message in the form that the account may see."""
        archive = context.archive
        displayed = await _displayed(archive, self.displayed)
        room = await archive.room_conversation(self.account, max(displayed.values(), default=0))
        selection = Selection(positions=frozenset({room.newest}))
        page = await archive.read(selection, 1, backward=True)
        items = page.items
        if context.room is not None:
            items = await rooms.visible(items, context.room, archive)
        results = [
            result._replace(
                content=_entry(room.peer, room.unread, item.id)
                + (result.content if self.messages else "")
            )
            for item, result in zip(items, format_results(items, self.queryid), strict=True)
        ]
        return Answer(markup.element("fin", {"xmlns": INBOX}), results)


def parse(inbox: "Element", request: Request) -> Question:
    """Parse a request for the inbox, or, in the name of a room, for the room's entry.

    Raises:
        StanzaError: bad-request for an attribute or a set that makes no sense.
    """
    messages = _boolean(inbox, "messages", default=True)
    if request.room is not None:
        return RoomInboxQuestion(request.account, messages, request.id, request.displayed)
    return InboxQuestion(
        paging=rsm.parse(only(inbox, tag(RSM, "set"))),
        unread_only=_boolean(inbox, "unread-only", default=False),
        messages=messages,
        queryid=request.id,
        displayed=request.displayed,
        rooms=request.rooms,
        anchors=request.anchors,
    )


def _boolean(inbox: "Element", name: str, *, default: bool) -> bool:
    written = inbox.get(name)
    if written is None:
        return default
    try:
        return boolean(written)
    except ValueError:
        raise StanzaError("bad-request", f"{name} is neither true nor false") from None


async def _displayed(archive: Archive, ids: Mapping[str, str]) -> Mapping[str, int]:
    """Give the position of the last read message of each chat, as far as the ids are valid.

    Clients name several chats of one conversation: private messages of a room by occupant.
    """
    places = await archive.find(set(ids.values())) if ids else {}
    found: dict[str, int] = {}
    for chat, id_ in ids.items():
        if id_ in places and (peer := _bare(chat)):
            found[peer] = max(found.get(peer, 0), places[id_])
    return found


def _bare(chat: str) -> str:
    try:
        return jid.parse(chat).bare
    except InvalidJid:
        return ""


def _id(entry: _Entry, items: Mapping[int, Item]) -> str:
    return entry.id or items[entry.place.position].id


def _entry(peer: str, unread: int, id_: str) -> str:
    attributes = {"xmlns": INBOX, "unread": str(unread), "jid": peer, "id": id_}
    return markup.element("entry", attributes)


def _fin(known: Sequence[_Entry], place: str) -> str:
    attributes = {
        "xmlns": INBOX,
        "total": str(len(known)),
        "unread": str(sum(entry.unread > 0 for entry in known)),
        "all-unread": str(sum(entry.unread for entry in known)),
    }
    return markup.element("fin", attributes, place)

"""The inbox (XEP-0430): an archive's conversations, the one with the newest message first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from query import rsm
from query.elements import boolean, only
from query.errors import StanzaError
from query.question import Answer, QueryContext, Reads, find_all
from query.request import Request, Result
from query.results import format_results
from stanzalake.errors import InvalidJid
from stanzalake.model import jid
from stanzalake.model.page import Archive, Conversation, Item, Selection
from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import INBOX, RSM, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAME = tag(INBOX, "inbox")


@dataclass(frozen=True)
class InboxQuestion:
    """A request for conversations.

    Attributes:
        paging: The requested page; ids are those of the entries.
        unread_only: Whether to leave out conversations without unread messages.
        messages: Whether to give each conversation's last message.
        queryid: Id of the iq, which the results name.
        displayed: By chat, the archive id up to which the owner has read (XEP-0490).
    """

    paging: rsm.Paging
    unread_only: bool
    messages: bool
    queryid: str
    displayed: Mapping[str, str] = field(default_factory=dict)
    kind: ClassVar[str] = "inbox"
    filtered: ClassVar[bool] = False
    reads: ClassVar[Reads] = "messages"
    activates: ClassVar[bool] = True

    async def answer(self, context: QueryContext) -> Answer:
        """Read a page of conversations (XEP-0430 §3.1)."""
        archive = context.archive
        known = await archive.conversations(await self._displayed(archive))
        listed = [c for c in known if c.unread or not self.unread_only]
        entries = await self._entries(archive, await self._page(archive, listed, context.limit))
        place = rsm.emit(len(listed))
        if entries:
            (first, first_item), (_, last_item) = entries[0], entries[-1]
            place = rsm.emit(len(listed), listed.index(first), first_item.id, last_item.id)
        return Answer(_fin(known, place), list(self._results(entries)))

    async def _entries(
        self, archive: Archive, shown: Sequence[Conversation]
    ) -> Sequence[tuple[Conversation, Item]]:
        """Give conversations with their last messages, as many as a page holds."""
        positions = frozenset(conversation.newest for conversation in shown)
        # What the page does not hold is at the end that the client pages to.
        page = await archive.read(
            Selection(positions=positions), len(positions), backward=not self.paging.backward
        )
        items = {item.position: item for item in page.items}
        return [(c, items[c.newest]) for c in shown if c.newest in items]

    async def _displayed(self, archive: Archive) -> Mapping[str, int]:
        """Give the position of the last read message of each chat, as far as the ids are valid."""
        chats = {_bare(chat): id_ for chat, id_ in self.displayed.items()}
        places = await archive.find(set(chats.values())) if chats else {}
        return {chat: places[id_] for chat, id_ in chats.items() if chat and id_ in places}

    async def _page(
        self, archive: Archive, listed: Sequence[Conversation], limit: int
    ) -> Sequence[Conversation]:
        """Give the requested conversations."""
        paging = self.paging
        places = await find_all(archive, (paging.after, paging.before))
        size = paging.size(limit)
        first, end = paging.index, len(listed)
        if paging.after:
            first = sum(c.newest >= places[paging.after] for c in listed)
        if paging.before:
            end = sum(c.newest > places[paging.before] for c in listed)
        if paging.backward:
            first = max(first, end - size)
        return listed[first : min(end, first + size)]

    def _results(self, entries: Iterable[tuple[Conversation, Item]]) -> Iterable[Result]:
        for conversation, item in entries:
            [result] = format_results([item], self.queryid)
            attributes = {
                "xmlns": INBOX,
                "unread": str(conversation.unread),
                "jid": conversation.peer,
                "id": item.id,
            }
            content = result.content if self.messages else ""
            yield result._replace(content=markup.element("entry", attributes) + content)


def parse(inbox: "Element", request: Request) -> InboxQuestion:
    """Parse a request for the inbox.

    Raises:
        StanzaError: bad-request for an attribute or a set that makes no sense.
    """
    return InboxQuestion(
        paging=rsm.parse(only(inbox, tag(RSM, "set"))),
        unread_only=_boolean(inbox, "unread-only", default=False),
        messages=_boolean(inbox, "messages", default=True),
        queryid=request.id,
        displayed=request.displayed,
    )


def _boolean(inbox: "Element", name: str, *, default: bool) -> bool:
    written = inbox.get(name)
    if written is None:
        return default
    try:
        return boolean(written)
    except ValueError:
        raise StanzaError("bad-request", f"{name} is neither true nor false") from None


def _bare(chat: str) -> str:
    try:
        return jid.parse(chat).bare
    except InvalidJid:
        return ""


def _fin(known: Sequence[Conversation], place: str) -> str:
    attributes = {
        "xmlns": INBOX,
        "total": str(len(known)),
        "unread": str(sum(conversation.unread > 0 for conversation in known)),
        "all-unread": str(sum(conversation.unread for conversation in known)),
    }
    return markup.element("fin", attributes, place)

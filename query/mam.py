"""Requests to an archive (XEP-0313): the form, a search, the metadata, preferences."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from query import forms, inbox, preferences, rooms, rsm, state
from query.elements import only
from query.errors import StanzaError
from query.question import Answer, QueryContext, Question, Reads, find_all
from query.request import Request
from query.results import format_results, stamp
from stanzalake.model.page import Archive, Item, Page, Selection
from stanzalake.model.position import MAX_POSITION, from_milliseconds
from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import DATA, INBOX, MAM, ORDER_BY, RSM, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_QUERYID = 1024


@dataclass(frozen=True)
class FormQuestion:
    """A request for the search form."""

    kind: ClassVar[str] = "form"
    filtered: ClassVar[bool] = False
    by_text: ClassVar[bool] = False
    reads: ClassVar[Reads] = "nothing"
    activates: ClassVar[bool] = True

    async def answer(self, context: QueryContext) -> Answer:  # noqa: ARG002  # the same for everybody
        """Give the search form."""
        return Answer(markup.element("query", {"xmlns": MAM}, forms.FORM))


@dataclass(frozen=True)
class MetadataQuestion:
    """A request for both ends of the archive."""

    kind: ClassVar[str] = "metadata"
    filtered: ClassVar[bool] = False
    by_text: ClassVar[bool] = False
    reads: ClassVar[Reads] = "messages"
    activates: ClassVar[bool] = False

    async def answer(self, context: QueryContext) -> Answer:
        """Give the first and last item's id and time (XEP-0313 §5).

        Raises:
            StanzaError: resource-constraint if the store may lack the last.
        """
        if not context.stable:
            raise StanzaError("resource-constraint", "the archive is behind: try again later")
        oldest = await context.archive.read(Selection(), 1)
        newest = await context.archive.read(Selection(), 1, backward=True)
        ends = [_end("start", item) for item in oldest.items]
        ends += [_end("end", item) for item in newest.items]
        return Answer(markup.element("metadata", {"xmlns": MAM}, *ends))


@dataclass(frozen=True)
class SearchQuestion:
    """A search.

    Attributes:
        filters: Conditions on the messages.
        paging: The requested page.
        flipped: Whether the page is sent newest first.
        queryid: The client's name for the search, if any.
    """

    filters: forms.Filters
    paging: rsm.Paging
    flipped: bool
    queryid: str | None
    kind: ClassVar[str] = "search"
    reads: ClassVar[Reads] = "messages"
    activates: ClassVar[bool] = True

    @property
    def filtered(self) -> bool:
        """Whether the search is about a single peer."""
        return self.filters.peer is not None

    @property
    def by_text(self) -> bool:
        """Whether texts are searched."""
        return self.filters.text is not None

    async def answer(self, context: QueryContext) -> Answer:
        """Read a page (XEP-0313 §4)."""
        filters = self.filters if context.room is None else replace(self.filters, groupchat=True)
        selection, window = await self._resolve(filters, context.archive)
        limit = self.paging.size(context.limit)
        page, counted = await asyncio.gather(
            context.archive.read(
                window, limit, backward=self.paging.backward, skip=self.paging.index
            ),
            context.archive.count(selection, _edge(window, self.paging)),
        )
        items = page.items
        if context.room is not None:
            items = await rooms.visible(items, context.room, context.archive)
        results = format_results(items, self.queryid)
        return Answer(
            _fin(page, *self._place(page, counted), stable=context.stable),
            results[::-1] if self.flipped else results,
        )

    def _place(self, page: Page, counted: tuple[int, int] | None) -> tuple[int | None, int | None]:
        """Give the count of the set, and the index of a page in it, as far as they are told."""
        if counted is None:
            return None, None
        index = self._index(page, counted[1])
        total = max(counted[0], index + len(page.items))
        # slixmpp takes a page for its last if index and size come to the count, also when it reads
        # backward and has only begun. Nobody may depend on the index (XEP-0313 §4.3.2).
        begins = self.paging.backward and page.more and index + len(page.items) == total
        return total, None if begins else index

    def _index(self, page: Page, before: int) -> int:
        """Compute the index of a page's first item from the number of items before its edge."""
        if not page.items:
            return 0
        at_edge = before - len(page.items) if self.paging.backward else before
        # A message may have come between the two statements.
        return max(0, at_edge + self.paging.index)

    async def _resolve(
        self, filters: forms.Filters, archive: Archive
    ) -> tuple[Selection, Selection]:
        """Give the selection of the filters, and its part between the page's anchors."""
        paging = self.paging
        anchors = (filters.after_id, filters.before_id, paging.after, paging.before)
        places = await find_all(archive, (*anchors, *(filters.ids or ())))
        selection = await _selection(filters, archive, places)
        return selection, _between(selection, paging.after, paging.before, places)


def question(request: Request) -> Question:
    """Parse a request, and detach its payload.

    Raises:
        StanzaError: The request is forbidden or makes no sense.
    """
    if request.iq is None:
        return state.StateQuestion()
    payload = request.take_payload()
    parsers = _PARSERS if request.room is None else _ROOM_PARSERS
    parse = parsers.get((request.kind, payload.tag))
    if parse is not None:
        return parse(payload)
    if (request.kind, payload.tag) == ("get", inbox.NAME):
        return inbox.parse(payload, request)
    known = payload.tag.startswith((tag(MAM, ""), tag(INBOX, "")))
    raise StanzaError("feature-not-implemented" if known else "service-unavailable")


def _form(query: "Element") -> FormQuestion:
    _refuse_node(query)
    return FormQuestion()


def _metadata(metadata: "Element") -> MetadataQuestion:
    _refuse_node(metadata)
    return MetadataQuestion()


def _search(query: "Element") -> SearchQuestion:
    _refuse_node(query)
    queryid = query.get("queryid")
    if queryid is not None and len(queryid) > MAX_QUERYID:
        raise StanzaError("bad-request", "the queryid is too long")
    if query.find(tag(ORDER_BY, "order")) is not None:
        raise StanzaError("feature-not-implemented", "results come in the archive's order")
    return SearchQuestion(
        filters=forms.parse(only(query, tag(DATA, "x"))),
        paging=rsm.parse(only(query, tag(RSM, "set"))),
        flipped=query.find(tag(MAM, "flip-page")) is not None,
        queryid=queryid,
    )


_PARSERS: Mapping[tuple[str, str], Callable[["Element"], Question]] = {
    ("get", tag(MAM, "query")): _form,
    ("set", tag(MAM, "query")): _search,
    ("get", tag(MAM, "metadata")): _metadata,
    ("get", tag(MAM, "prefs")): preferences.parse_get,
    ("set", tag(MAM, "prefs")): preferences.parse_set,
}

# A room has no preferences (XEP-0441), and all its messages are of type groupchat.
_ROOM_PARSERS = {name: _PARSERS[name] for name in _PARSERS if name[1] != tag(MAM, "prefs")}


def _refuse_node(asked: "Element") -> None:
    if asked.get("node") is not None:
        raise StanzaError("feature-not-implemented", "an archive has no nodes")


async def _selection(
    filters: forms.Filters, archive: Archive, places: Mapping[str, int]
) -> Selection:
    selection = Selection(
        low=_first_position(filters.start),
        high=_last_position(filters.end),
        peer=filters.peer.bare if filters.peer else "",
        resource=(filters.peer.resource or "") if filters.peer else "",
        groupchat=filters.groupchat,
        positions=await _stored(archive, filters.ids, places),
        text=filters.text,
    )
    return _between(selection, filters.after_id, filters.before_id, places)


async def _stored(
    archive: Archive, ids: Iterable[str] | None, places: Mapping[str, int]
) -> frozenset[int] | None:
    if ids is None:
        return None
    positions = frozenset(places[id_] for id_ in ids)
    if await archive.stored(positions) != positions:
        raise StanzaError("item-not-found")
    return positions


def _edge(window: Selection, paging: rsm.Paging) -> int:
    """Give the position that a page begins at, in the order of context."""
    return window.high + 1 if paging.backward else window.low


def _between(
    selection: Selection, after: str | None, before: str | None, places: Mapping[str, int]
) -> Selection:
    """Narrow a selection to the positions strictly between two ids, if given."""
    low = places[after] + 1 if after else 0
    high = places[before] - 1 if before else MAX_POSITION
    return replace(selection, low=max(low, selection.low), high=min(high, selection.high))


def _first_position(start: int | None) -> int:
    return 0 if start is None else max(0, from_milliseconds(start))


def _last_position(end: int | None) -> int:
    return MAX_POSITION if end is None else min(MAX_POSITION, from_milliseconds(end + 1) - 1)


def _end(name: str, item: Item) -> str:
    return markup.element(name, {"id": item.id, "timestamp": stamp(item)})


def _fin(page: Page, total: int | None, index: int | None, *, stable: bool) -> str:
    attributes = {
        "xmlns": MAM,
        # A client that reads to the end of the archive takes the next live id for its successor.
        "complete": "true" if stable and not page.more else None,
        "stable": None if stable else "false",
    }
    first = page.items[0].id if page.items else None
    last = page.items[-1].id if page.items else None
    return markup.element("fin", attributes, rsm.emit(total, index, first, last))

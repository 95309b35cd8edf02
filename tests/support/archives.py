"""Archives for tests: one in memory with the archive reader's interface, and rows to fill them."""

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any
from xml.etree import ElementTree as ET

from query.page_cache import PageCache
from query.request import Request
from stanzalake.log.base import EVENTS, Consumer, Entry, Record
from stanzalake.log.watermarks import NO_WATERMARKS, Watermarks
from stanzalake.model.event import Event, decode
from stanzalake.model.history import History
from stanzalake.model.page import (
    MAX_PAGE,
    Archive,
    ArchiveRetention,
    Conversation,
    Item,
    Page,
    Selection,
    count_bytes,
)
from stanzalake.model.position import Sealer, from_milliseconds
from stanzalake.model.retention import FOREVER
from stanzalake.store.client import Row
from stanzalake.store.retention import horizon
from tests.support import full_text
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.settings import KEY

SEALER = Sealer([KEY])
EVERYTHING = horizon(FOREVER, 0)
"""The horizon of an archive of which nothing expires."""
START = 1_790_000_000_000
"""Unix time in milliseconds of the first row of an archive for tests."""

_BODY = "{jabber:client}body"
_OMEMO = "{urn:xmpp:omemo:2}encrypted"
_REACTIONS = "{urn:xmpp:reactions:0}reactions"
_RETRACT = "{urn:xmpp:message-retract:1}retract"
_CORRECTION = "{urn:xmpp:message-correct:0}replace"
_DISPLAYED = "{urn:xmpp:chat-markers:0}displayed"


async def open_archive(
    cache: PageCache, request: Request, *, current: bool = True, inbox: bool = False
) -> Archive:
    """Open the archive of a request as the query component does."""
    prepared = await cache.prepare(request, current=current, inbox=inbox)
    return await cache.archive(request, current=prepared)


def row(position: int, **changes: Any) -> Row:
    """Give a row of Juliet's archive."""
    return Row(JULIET, position, ROMEO, "orchard", "in", "chat", stanza())._replace(**changes)


def rows(number: int) -> list[Row]:
    """Give rows of Juliet's archive, a second apart, with bodies "1" to the number."""
    return [
        row(from_milliseconds(START + 1000 * n), stanza=stanza(str(n + 1))) for n in range(number)
    ]


def visible_id(given: Row) -> str:
    """Give the id that clients see of a row."""
    return given.legacy_id or SEALER.seal(given.owner, given.position)


class MemoryArchive:
    """An owner's archive in memory.

    Args:
        given: Rows of any owners, in any order, repeats included.
        owner: Whose archive it is.
        oldest: Lowest position that is not expired.
        said: The owner's history, oldest first.
        page_bytes: Bytes of stanzas in a page at most; the last may be larger.
    """

    def __init__(
        self,
        given: Iterable[Row],
        owner: str = JULIET,
        oldest: int = 0,
        said: History = (),
        page_bytes: int = MAX_PAGE,
    ) -> None:
        self._page_bytes = page_bytes
        self._said = said
        self._owner = owner
        self._oldest = oldest
        own = {r.position: r for r in given if r.owner == owner and r.position >= oldest}
        self._rows = [own[position] for position in sorted(own)]

    async def find(self, ids: Collection[str]) -> Mapping[str, int]:
        legacy = {r.legacy_id: r.position for r in self._rows if r.legacy_id}
        places = {id_: SEALER.open(self._owner, id_) for id_ in ids}
        found = {id_: legacy.get(id_) if place is None else place for id_, place in places.items()}
        return {
            id_: place
            for id_, place in found.items()
            if place is not None and place >= self._oldest
        }

    async def stored(self, positions: Collection[int]) -> frozenset[int]:
        return frozenset(r.position for r in self._rows).intersection(positions)

    async def occupants(self, positions: Collection[int]) -> Mapping[int, str]:
        return {r.position: r.occupant for r in self._rows if r.position in set(positions)}

    async def read(
        self, selection: Selection, limit: int, *, backward: bool = False, skip: int = 0
    ) -> Page:
        chosen = self._chosen(selection)[skip:]
        shown = self._fitting(chosen[::-1] if backward else chosen, limit)
        items = [Item(r.position, visible_id(r), r.stanza) for r in shown]
        return Page(items[::-1] if backward else items, more=len(shown) < len(chosen))

    async def history(self) -> History:
        return self._said

    async def retention(self) -> ArchiveRetention:
        return ArchiveRetention(0, None)

    async def count(self, selection: Selection, below: int) -> tuple[int, int] | None:
        chosen = self._chosen(selection)
        return len(chosen), sum(r.position < below for r in chosen)

    async def conversations(self, displayed: Mapping[str, int]) -> Sequence[Conversation]:
        peers = {r.peer: [o for o in self._rows if o.peer == r.peer] for r in self._rows}
        found = [_conversation(own, displayed.get(peer, 0)) for peer, own in peers.items()]
        return sorted((c for c in found if c.newest), key=lambda c: -c.newest)

    async def room_conversation(self, account: str, displayed: int) -> Conversation:
        seen = [r._replace(direction="out" if r.occupant == account else "in") for r in self._rows]
        if not seen:
            return Conversation(self._owner, 0, 0)
        # Markers that are said in a room are left aside (decision 26).
        return _conversation(seen, displayed, heeds_markers=False)

    def _fitting(self, chosen: Sequence[Row], limit: int) -> Sequence[Row]:
        """Return the first rows, as many as a page holds: the last may pass its bytes."""
        sizes = accumulate((count_bytes(r.stanza) for r in chosen), initial=0)
        rows = zip(chosen[:limit], sizes, strict=False)
        return [r for r, before in rows if before < self._page_bytes]

    def _chosen(self, selection: Selection) -> list[Row]:
        return [r for r in self._rows if _matches(r, selection)]


class HeardLog:
    """A log that keeps appended events.

    Attributes:
        heard: The events.
        failure: Raised by `append` if set.
    """

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.failure: Exception | None = None

    async def append(self, topic: str, entries: Sequence[Entry]) -> Watermarks:
        if self.failure is not None:
            raise self.failure
        assert topic == EVENTS
        for entry in entries:
            event = decode(entry.value)
            assert entry.key == event.owner
            self.heard.append(event)
        return {0: len(self.heard)}

    async def wait_committed(
        self, topic: str, group: str, key: str, timeout: float, up_to: Watermarks = NO_WATERMARKS
    ) -> bool:
        raise NotImplementedError

    async def consumer(self, topic: str, group: str, on_rebalance: object = None) -> Consumer:
        raise NotImplementedError

    def scan(self, topic: str) -> AsyncGenerator[Record, None]:
        raise NotImplementedError

    def follow(self, topic: str) -> AsyncGenerator[Record, None]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


def _conversation(
    rows: Sequence[Row], displayed: int, *, heeds_markers: bool = True
) -> Conversation:
    parsed = {r.position: ET.fromstring(r.stanza) for r in rows}  # noqa: S314  # the tests' own
    words = [r for r in rows if r.kind != "error" and _has_words(parsed[r.position])]
    read = max([displayed, *(r.position for r in words if r.direction == "out")])
    counted = [
        r for r in words if r.direction == "in" and parsed[r.position].find(_CORRECTION) is None
    ]
    sent = [r for r in rows if r.direction == "out" and r.kind != "error"]
    for marker in sent[::-1] if heeds_markers else ():
        element = parsed[marker.position].find(_DISPLAYED)
        if element is not None:
            older = [
                r
                for r in rows
                if r.direction == "in" and r.kind != "error" and r.position < marker.position
            ]
            named = {parsed[r.position].get("id"): r.position for r in older}
            read = max(read, named.get(element.get("id"), 0))
            break
    newest = max((r.position for r in words), default=0)
    return Conversation(rows[0].peer, newest, sum(r.position > read for r in counted))


def _has_words(message: ET.Element) -> bool:
    has = bool(message.findtext(_BODY)) or message.find(_OMEMO) is not None
    return has and message.find(_REACTIONS) is None and message.find(_RETRACT) is None


def _matches(given: Row, selection: Selection) -> bool:
    return (
        selection.low <= given.position <= selection.high
        and selection.peer in {"", given.peer}
        and selection.resource in {"", given.peer_resource}
        and (selection.groupchat or given.kind != "groupchat")
        and (selection.positions is None or given.position in selection.positions)
        and (selection.text is None or full_text.matches(selection.text, given.stanza))
    )

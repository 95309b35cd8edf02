"""The query component on a stream without a socket."""

import asyncio
from collections.abc import Callable
from xml.etree.ElementTree import Element, XMLPullParser, tostring

from query.component import Component
from query.freshness import Freshness
from query.request import Request
from query.state_publisher import StatePublishers
from stanzalake.config.settings import Settings
from stanzalake.log.watermarks import NO_WATERMARKS, Watermarks
from stanzalake.model.page import Archive
from stanzalake.observability.access_log import AccessLog
from stanzalake.xmpp.namespaces import DELEGATION, MAM, PRIVILEGE, tag
from tests.support.archives import HeardLog, MemoryArchive, rows
from tests.support.queries import COMPONENT, HOST, envelope
from tests.support.settings import load
from tests.support.wait import until

DELEGATED = f"<delegation xmlns='{DELEGATION}'><delegated namespace='{MAM}'/></delegation>"
SENDING = f"<privilege xmlns='{PRIVILEGE}'><perm access='message' type='outgoing'/></privilege>"
ACCEPT = "jabber:component:accept"

Settle = Callable[[], bool]


class StreamEnd(asyncio.Transport):
    """A transport that keeps the stanzas written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.parser: XMLPullParser[Element] = XMLPullParser(["end"])
        self.stanzas: list[Element] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.parser.feed(bytes(data))
        # Only an element that ends is asked for, and it comes with the event's name.
        for event in self.parser.read_events():
            element = event[-1]
            assert isinstance(element, Element)
            if element.tag in {tag(ACCEPT, "iq"), tag(ACCEPT, "message")}:
                self.stanzas.append(element)

    def is_closing(self) -> bool:
        return False


class SettledLog(HeardLog):
    """A log whose records are processed at once, unless a test says otherwise."""

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout
        self.asked: list[tuple[str, str, str, Watermarks]] = []
        self.settle: Settle = lambda: True
        self.held = asyncio.Event()
        self.held.set()

    async def wait_committed(
        self, topic: str, group: str, key: str, timeout: float, up_to: Watermarks = NO_WATERMARKS
    ) -> bool:
        assert timeout == self._timeout
        self.asked.append((topic, group, key, up_to))
        await self.held.wait()
        return self.settle()


class Stage:
    """A query component, the other end of its stream, and its archive and log.

    Args:
        values: The settings; those without changes if None.
        smart: Whether smart archiving is on.
        access_log: The access log's file; none if empty.
    """

    def __init__(
        self, values: Settings | None = None, *, smart: bool = False, access_log: str = ""
    ) -> None:
        values = values or load()
        self.log = SettledLog(values.freshness_timeout)
        self.stored = MemoryArchive(rows(3))
        self.failure: Exception | None = None
        self.owners: list[str] = []
        self.prepared: list[tuple[str, bool]] = []
        self.current: list[bool] = []
        self.accesses = AccessLog(access_log)
        self.component = Component(
            values,
            ("127.0.0.1", 1),
            self,
            Freshness(self.log, values.freshness_timeout),
            StatePublishers(self.log, "roster", smart),
            self.accesses,
        )
        self.end = StreamEnd()
        self.connect()

    async def prepare(self, request: Request, *, current: bool, inbox: bool = False) -> bool:
        self.prepared.append((request.owner, inbox))
        return current

    async def archive(self, request: Request, *, current: bool) -> Archive:
        self.owners.append(request.owner)
        self.current.append(current)
        if self.failure is not None:
            raise self.failure
        return self.stored

    def connect(self) -> None:
        self.end = StreamEnd()
        self.component.connection_made(self.end)
        self.hear(f"<stream:stream xmlns='{ACCEPT}' xmlns:stream='s' id='1'>")

    def hear(self, text: str) -> None:
        self.component.data_received(text.encode())

    def grant(self, *announcements: str) -> None:
        for announcement in announcements or (DELEGATED, SENDING):
            self.hear(f"<message from='{HOST}' to='{COMPONENT}'>{announcement}</message>")

    def ask(self, payload: str, kind: str = "set", **changes: str) -> None:
        """Send a delegated request; the changes are of the outer iq."""
        self.bring(envelope(payload, kind), **changes)

    def bring(self, outer: Element, **changes: str) -> None:
        """Send an iq with other attributes."""
        outer.attrib.update({name.rstrip("_"): value for name, value in changes.items()})
        self.hear(tostring(outer, "unicode"))

    async def answers(self, number: int = 1) -> list[Element]:
        """Wait for so many iqs, and give them."""
        await until(lambda: len(self.iqs) >= number)
        return self.iqs

    async def inner(self) -> Element:
        """Wait for one answer, and give the user's part of it."""
        [outer] = await self.answers()
        assert outer.get("type") == "result"
        [[[inner]]] = outer
        return inner

    @property
    def iqs(self) -> list[Element]:
        return [x for x in self.end.stanzas if x.tag == tag(ACCEPT, "iq")]

"""Stand-ins for the ingest and query components, controlled by a test."""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from ingest.batch import NAMESPACE
from stanzalake.model import event
from stanzalake.xmpp import frames
from stanzalake.xmpp.component import Component
from stanzalake.xmpp.frames import Frame
from stanzalake.xmpp.namespaces import MAM, QUERY
from tests.support.clients import parsed
from tests.support.wait import until

ACCEPT = "{jabber:component:accept}"
BATCH = f"{{{NAMESPACE}}}batch"

Answer = Callable[[ET.Element], str | None]

FIN = f"<fin xmlns='{MAM}' complete='true'/>"
_STANZA_ERROR = "urn:ietf:params:xml:ns:xmpp-stanzas"


class Fake(Component):
    """A component whose connection a test starts and stops.

    Attributes:
        pings: How many keep-alives came back.
        replies: Answers to iqs that it sent.
    """

    def __init__(self, jid: str, secret: str, port: int) -> None:
        super().__init__(jid, secret, ("127.0.0.1", port))
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.pings = 0
        self.replies: list[ET.Element] = []
        self._trips = 0
        self._returned = 0
        self.add_filter("in", self._count_trips)

    async def start(self) -> None:
        """Connect."""
        self._task = asyncio.create_task(self.run(self._stop))
        async with asyncio.timeout(10):
            await self.ready()

    async def stop(self) -> None:
        """Close the stream."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def round_trip(self) -> None:
        """Wait until the host has taken all that was sent before."""
        self._trips += 1
        itself = f"from='{self.boundjid}' to='{self.boundjid}'"
        self.send_raw(f"<iq type='get' id='trip' {itself}><x xmlns='urn:test'/></iq>")
        await until(lambda: self._returned == self._trips)

    def _on_ping(self, kind: str | None) -> None:
        self.pings += kind == "get"
        super()._on_ping(kind)

    def _count_trips(self, stanza: Any) -> Any:
        if stanza.xml.tag == f"{ACCEPT}iq" and stanza.xml.get("type") in {"result", "error"}:
            self.replies.append(stanza.xml)
        self._returned += stanza.xml.get("id") == "trip" and stanza.xml.get("type") == "get"
        return stanza

    def result(self, iq: ET.Element, payload: str = "") -> str:
        """Give the result that answers an iq."""
        return (
            f"<iq type='result' id={quoteattr(iq.get('id', ''))} from='{self.boundjid}' "
            f"to='{iq.get('from')}'>{payload}</iq>"
        )

    def error(self, iq: ET.Element, kind: str, condition: str) -> str:
        """Give the error that answers an iq."""
        return (
            f"<iq type='error' id={quoteattr(iq.get('id', ''))} from='{self.boundjid}' "
            f"to='{iq.get('from')}'><error type='{kind}'>"
            f"<{condition} xmlns='{_STANZA_ERROR}'/></error></iq>"
        )


class FakeIngest(Fake):
    """Takes batches.

    Attributes:
        batches: The messages of each batch that came, in the order of arrival, repeats as well.
        everything: All events that came, in that order.
        answer: Gives the XML of the answer to a batch, or None for silence.
        ends: Where it says that the log's partitions end.
    """

    def __init__(self, jid: str, secret: str, port: int) -> None:
        super().__init__(jid, secret, port)
        self.batches: list[list[event.Message]] = []
        self.everything: list[event.Event] = []
        self.answer: Answer = self.taken
        self.ends = "0:1"
        path = f"{ACCEPT}iq/{BATCH}"
        self.register_handler(Callback("batch", MatchXPath(path), self._on_batch))

    @property
    def events(self) -> list[event.Message]:
        """All messages that came."""
        return [one for batch in self.batches for one in batch]

    def taken(self, iq: ET.Element) -> str:
        """Give the acknowledgement of a batch."""
        return self.result(iq, f"<batch xmlns='{NAMESPACE}' ends='{self.ends}'/>")

    async def arrival(self, body: str, owner: str, within: float = 10.0) -> event.Message:
        """Give the first event of an owner whose stanza has this text."""
        await until(lambda: self._find(body, owner), within)
        return self._find(body, owner)[0]

    def _find(self, body: str, owner: str) -> list[event.Message]:
        return [e for e in self.events if e.owner == owner and f">{body}<" in e.stanza]

    def _on_batch(self, iq: Any) -> None:
        text = iq.xml.findtext(BATCH) or ""
        lines = base64.b64decode(text, validate=True)
        assert lines.endswith(b"\n")
        events = [event.decode(line) for line in lines.splitlines()]
        self.everything += events
        self.batches.append([e for e in events if isinstance(e, event.Message)])
        answer = self.answer(iq.xml)
        if answer is not None:
            self.send_raw(answer)


class Forwarded(NamedTuple):
    """A request of the module, opened.

    Attributes:
        outer: The iq that carried it.
        kind: "request" or "state".
        position: The position assigned to it.
        header: Its JSON object.
        iq: The user's iq; None if there is none.
    """

    outer: ET.Element
    kind: str
    position: int
    header: Mapping[str, Any]
    iq: ET.Element | None

    @classmethod
    def of(cls, outer: ET.Element) -> Self:
        """Open the request in an iq."""
        head, *rest = frames.read(base64.b64decode(outer[0].text or "", validate=True))
        iq = parsed(rest[0].content.decode()) if rest else None
        return cls(outer, head.kind, head.position, json.loads(head.content), iq)

    @property
    def asked(self) -> ET.Element:
        """The user's iq."""
        assert self.iq is not None
        return self.iq


class FakeQuery(Fake):
    """Takes forwarded requests.

    Attributes:
        requests: The users' requests that came.
        asked: The requests for owners' states that came.
        strangers: Stanzas that are none of the module's requests.
        answer: Gives the stanzas to send for a user's request; nothing for silence.
        tell: The same for a request for a state.
    """

    def __init__(self, jid: str, secret: str, port: int) -> None:
        super().__init__(jid, secret, port)
        self.requests: list[Forwarded] = []
        self.asked: list[Forwarded] = []
        self.strangers: list[ET.Element] = []
        self.answer: Callable[[Forwarded], str] = self.fin
        self.tell: Callable[[Forwarded], str] = self.state
        self.add_filter("in", self._receive)

    def reply(
        self, request: Forwarded, payload: str, messages: Sequence[str] = (), **changes: str
    ) -> str:
        """Give the answer with an iq of type result; changes are for its attributes."""
        attributes = {"type": "result", "id": request.asked.get("id", "")}
        attributes |= {"to": request.asked.get("from", ""), **changes}
        text = " ".join(f"{k}={quoteattr(v)}" for k, v in attributes.items())
        results = [Frame("message", m.encode(), n) for n, m in enumerate(messages, 1)]
        return self.parts(request, [*results, Frame("iq", f"<iq {text}>{payload}</iq>".encode())])

    def preferences(self, request: Forwarded, default: str) -> str:
        """Give the answer to preferences that have come into force."""
        state = {"activated": True, "default": default, "always": [], "never": []}
        iq = (
            f"<iq type='result' id='{request.asked.get('id')}' to='{request.asked.get('from')}'>"
            f"<prefs xmlns='{MAM}' default='{default}'><always/><never/></prefs></iq>"
        )
        frames_ = [
            Frame("state", json.dumps(state).encode(), request.position),
            Frame("iq", iq.encode()),
        ]
        return self.parts(request, frames_)

    def fin(self, request: Forwarded) -> str:
        """Give the answer of an empty page."""
        return self.reply(request, FIN)

    def page(self, request: Forwarded, *ids: str) -> str:
        """Give the answer of a page of messages, by their ids."""
        return self.reply(request, FIN, [result(request, id_) for id_ in ids])

    def state(self, request: Forwarded, position: int = 0, **changes: object) -> str:
        """Give the answer with an owner's state; by default of one who never asked or chose."""
        state = {"activated": False, "always": [], "never": [], **changes}
        return self.parts(request, [Frame("state", json.dumps(state).encode(), position)])

    def parts(self, request: Forwarded, content: Sequence[Frame], number: int = 1) -> str:
        """Give the answer of frames, in so many parts."""
        data = frames.write(content)
        size = -(-len(data) // number)
        pieces = [data[k * size : (k + 1) * size] for k in range(number)]
        return "".join(
            self.part(request, base64.b64encode(piece).decode(), k, number)
            for k, piece in enumerate(pieces, 1)
        )

    def part(self, request: Forwarded, text: str, part: int, of: int) -> str:
        """Give the stanza of a part with this text."""
        answer = f"<answer xmlns='{QUERY}' part='{part}' of='{of}'>{text}</answer>"
        if part == of:
            return self.result(request.outer, answer)
        addresses = f"from='{self.boundjid}' to='{request.outer.get('from')}'"
        return f"<message id='{request.outer.get('id')}' {addresses}>{answer}</message>"

    def _receive(self, stanza: Any) -> Any:
        xml = stanza.xml
        if xml.tag == f"{ACCEPT}iq" and len(xml) and xml[0].tag == f"{{{QUERY}}}request":
            request = Forwarded.of(xml)
            kept, give = (
                (self.asked, self.tell) if request.iq is None else (self.requests, self.answer)
            )
            kept.append(request)
            if answer := give(request):
                self.send_raw(answer)
            # slixmpp answers what it does not know.
            return None
        if xml.tag.startswith(ACCEPT) and xml.get("from") not in {None, str(self.boundjid)}:
            self.strangers.append(xml)
        return stanza


def result(request: Forwarded, id_: str, body: str = "old") -> str:
    """Give a result message for the session that asked."""
    owner = request.header["owner"]
    return (
        f"<message from='{owner}' to='{request.asked.get('from')}' id='{id_}'>"
        f"<result xmlns='{MAM}' id='{id_}'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<message xmlns='jabber:client' type='chat'><body>{body}</body></message>"
        "</forwarded></result></message>"
    )


def privileged(component: str, host: str, sender: str, to: str, id_: str) -> str:
    """Give a result message as XEP-0356 wraps it."""
    content = (
        f"<result xmlns='urn:xmpp:mam:2' id='{id_}'><forwarded xmlns='urn:xmpp:forward:0'>"
        "<message xmlns='jabber:client' type='chat'><body>old</body></message>"
        "</forwarded></result>"
    )
    return privileged_message(component, host, sender, to, content, id_)


def privileged_message(  # noqa: PLR0913, PLR0917  # the attributes of two stanzas
    component: str, host: str, sender: str, to: str, content: str, id_: str = "p1"
) -> str:
    """Give a message that a component sends for a user, as XEP-0356 wraps it."""
    return (
        f"<message from='{component}' to='{host}' id='outer-{id_}'>"
        "<privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<message xmlns='jabber:client' from='{sender}' to='{to}' id='{id_}'>{content}</message>"
        "</forwarded></privilege></message>"
    )

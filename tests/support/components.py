"""Components that stand in for ingest and query, and do what a test tells them."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from ingest.batch import NAMESPACE
from stanzalake.model import event
from stanzalake.xmpp.component import Component
from tests.support.wait import until

ACCEPT = "{jabber:component:accept}"
DELEGATION = "{urn:xmpp:delegation:2}"
FORWARD = "{urn:xmpp:forward:0}"
PRIVILEGE = "{urn:xmpp:privilege:2}"
STAMP = "{urn:stanzalake:stamp:1}stamp"
BATCH = f"{{{NAMESPACE}}}batch"

Answer = Callable[[ET.Element], str | None]

_STANZA_ERROR = "urn:ietf:params:xml:ns:xmpp-stanzas"


class Fake(Component):
    """A component whose connection a test starts and stops."""

    def __init__(self, jid: str, secret: str, port: int) -> None:
        super().__init__(jid, secret, ("127.0.0.1", port))
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

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


class FakeQuery(Fake):
    """Takes forwarded queries.

    Attributes:
        envelopes: The outer iqs that came.
        announced: The messages of the host that grant something.
        refusals: Message errors that came back.
        answer: Gives the XML to send for an outer iq, or None for silence.
    """

    def __init__(self, jid: str, secret: str, port: int) -> None:
        super().__init__(jid, secret, port)
        self.envelopes: list[ET.Element] = []
        self.announced: list[ET.Element] = []
        self.refusals: list[ET.Element] = []
        self.answer: Answer = self.fin
        iqs = MatchXPath(f"{ACCEPT}iq/{DELEGATION}delegation")
        self.register_handler(Callback("envelope", iqs, self._on_envelope))
        messages = MatchXPath(f"{ACCEPT}message")
        self.register_handler(Callback("message", messages, self._on_message))

    def reply(self, outer: ET.Element, payload: str, **changes: str) -> str:
        """Give the envelope of a result of the inner iq; changes are for its attributes."""
        inner = inner_iq(outer)
        attributes = {"type": "result", "id": inner.get("id", ""), "to": inner.get("from", "")}
        text = " ".join(f"{k}={quoteattr(v)}" for k, v in {**attributes, **changes}.items())
        return self.result(
            outer,
            "<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>"
            f"<iq xmlns='jabber:client' {text}>{payload}</iq></forwarded></delegation>",
        )

    def fin(self, outer: ET.Element) -> str:
        """Give the envelope of an empty page's end."""
        return self.reply(outer, "<fin xmlns='urn:xmpp:mam:2' complete='true'/>")

    def send_result(self, host: str, sender: str, to: str, id_: str) -> None:
        """Send a result message of a user's archive to one of the user's sessions (XEP-0356)."""
        self.send_raw(privileged(str(self.boundjid), host, sender, to, id_))

    def _on_envelope(self, iq: Any) -> None:
        self.envelopes.append(iq.xml)
        answer = self.answer(iq.xml)
        if answer is not None:
            self.send_raw(answer)

    def _on_message(self, message: Any) -> None:
        kept = self.refusals if message.xml.get("type") == "error" else self.announced
        kept.append(message.xml)


def inner_iq(outer: ET.Element) -> ET.Element:
    """Give the user's iq out of an envelope."""
    path = f"{DELEGATION}delegation/{FORWARD}forwarded/{{jabber:client}}iq"
    inner = outer.find(path)
    assert inner is not None
    return inner


def stamp(outer: ET.Element) -> ET.Element:
    """Give the stamp of an envelope."""
    found = outer.find(f"{DELEGATION}delegation/{STAMP}")
    assert found is not None
    return found


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

"""An XMPP client that sends stanzas as text and keeps every received stanza."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

from devstack.client import Session

CLIENT = "{jabber:client}"
_SMALL = 4096
_DEADLINE = 10.0

Test = Callable[[ET.Element], object]


class RawClient(Session):
    """A session that sends stanzas as they are written.

    Attributes:
        received: Every stanza, in order.
    """

    def __init__(self, jid: str, password: str, port: int) -> None:
        super().__init__(jid, password, port)
        self.received: list[ET.Element] = []
        self._numbers = itertools.count(1)
        self._changed = asyncio.Condition()
        self._notified: set[asyncio.Task[None]] = set()
        self.add_filter("in", self._record)

    async def online(self) -> None:
        """Connect, ask for carbons, and become available."""
        await self.bind()
        await self.ask("set", "<enable xmlns='urn:xmpp:carbons:2'/>")
        self.send_raw("<presence/>")
        await self.expect(
            lambda x: x.tag == f"{CLIENT}presence" and x.get("from") == self.boundjid.full
        )

    def say(self, to: str, body: str, id_: str, extra: str = "") -> None:
        """Send a chat message."""
        self.send_raw(
            f"<message to='{to}' type='chat' id='{id_}'><body>{body}</body>{extra}</message>"
        )

    def send_raw(self, data: str | bytes) -> None:
        """Send markup, and white space behind it if it is large.

        From 2.6 on expat holds back a tag that the network has cut in pieces until twice as much
        has come: Prosody would answer with the next stanza.
        """
        raw = data.encode() if isinstance(data, str) else data
        super().send_raw(raw + b" " * len(raw) if len(raw) > _SMALL else raw)

    async def expect(self, test: Test, within: float = _DEADLINE) -> ET.Element:
        """Give the first stanza received, since the start, that fits.

        Raises:
            AssertionError: None came in time; the text has the received stanzas.
        """
        try:
            async with asyncio.timeout(within), self._changed:
                await self._changed.wait_for(lambda: self.found(test))
        except TimeoutError:
            seen = "\n".join(ET.tostring(x, "unicode") for x in self.received)
            raise AssertionError(f"{self.boundjid} did not receive it, but:\n{seen}") from None
        return self.found(test)[0]

    async def message(self, id_: str) -> ET.Element:
        """Give the message of this id, not a copy of it inside another."""
        return await self.expect(
            lambda x: x.tag == f"{CLIENT}message" and x.get("id") == id_,
        )

    async def ask(
        self, kind: str, payload: str, to: str = "", within: float = _DEADLINE
    ) -> ET.Element:
        """Send an iq and give its answer, a result or an error."""
        id_ = self.send_iq(kind, payload, to)
        return await self.answer(id_, within)

    def send_iq(self, kind: str, payload: str, to: str = "") -> str:
        """Send an iq, to the own account if no address is given; give its id."""
        id_ = f"{self.boundjid.resource}-{next(self._numbers)}"
        address = f"to='{to}' " if to else ""
        self.send_raw(f"<iq type='{kind}' {address}id='{id_}'>{payload}</iq>")
        return id_

    async def answer(self, id_: str, within: float = _DEADLINE) -> ET.Element:
        """Give the answer to the iq of this id."""
        return await self.expect(lambda x: x.tag == f"{CLIENT}iq" and x.get("id") == id_, within)

    def found(self, test: Test) -> list[ET.Element]:
        """Give everything received that fits."""
        return [x for x in self.received if test(x)]

    def _record(self, stanza: Any) -> Any:
        self.received.append(stanza.xml)
        task = asyncio.get_running_loop().create_task(self._notify())
        self._notified.add(task)
        task.add_done_callback(self._notified.discard)
        return stanza

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def parsed(stanza: str) -> ET.Element:
    """Give the element of an event's stanza."""
    return ET.fromstring(stanza)  # noqa: S314  # the tests wrote it


def condition(answer: ET.Element) -> str:
    """Give the type and condition of a stanza error, like cancel/item-not-found."""
    error = answer.find(f"{CLIENT}error")
    assert answer.get("type") == "error", ET.tostring(answer)
    assert error is not None
    names = [child.tag.partition("}")[2] for child in error]
    return f"{error.get('type')}/{names[0]}"


def stanza_ids(message: ET.Element) -> list[tuple[str, str]]:
    """Give (by, id) of every stanza-id that is a direct child."""
    found = message.findall("{urn:xmpp:sid:0}stanza-id")
    return [(x.get("by", ""), x.get("id", "")) for x in found]

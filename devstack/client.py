"""A minimal XMPP client for conversations and archive queries on loopback."""

import asyncio
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from slixmpp import JID, ClientXMPP
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

_MAM = "urn:xmpp:mam:2"
_ROSTER = "jabber:iq:roster"
_RSM = "http://jabber.org/protocol/rsm"
_FORWARD = "{urn:xmpp:forward:0}forwarded"
_RESULT = f"{{{_MAM}}}result"
_TIMEOUT = 30.0


class ReceivedMessage(NamedTuple):
    """A message as seen by a client.

    Attributes:
        id: Id in the client's archive; empty on live messages that the client sent.
        sender: Bare JID.
        body: Text.
    """

    id: str
    sender: str
    body: str


class Page(NamedTuple):
    """A page of an archive.

    Attributes:
        messages: Messages, oldest first.
        last: Id of the last message.
        complete: Whether this is the last page.
        stable: False if messages sent before the query may be missing.
    """

    messages: list[ReceivedMessage]
    last: str
    complete: bool
    stable: bool


class Session(ClientXMPP):
    """A session of an account without TLS.

    Args:
        jid: Full JID.
        password: The account's password.
        port: Prosody's c2s port on 127.0.0.1.
    """

    def __init__(self, jid: str, password: str, port: int) -> None:
        super().__init__(jid, password)
        self.enable_starttls = False
        self.enable_direct_tls = False
        self.enable_plaintext = True
        self["feature_mechanisms"].unencrypted_plain = True
        self._port = port
        self._settled = asyncio.Event()
        self._bound = False
        self._trouble: list[str] = []
        self.add_event_handler("session_start", self._on_session)
        self.add_event_handler("failed_auth", lambda x: self._trouble.append(f"{x['condition']}"))
        for event in ("connection_failed", "disconnected"):
            self.add_event_handler(event, self._on_end)

    async def bind(self) -> None:
        """Connect and bind the resource, without presence.

        Raises:
            ConnectionError: The connection was refused or lost before; the text says why.
            TimeoutError: No session within 30 seconds.
        """
        self.connect("127.0.0.1", self._port)
        try:
            await asyncio.wait_for(self._settled.wait(), _TIMEOUT)
        finally:
            if not self._bound:
                await self.offline()
        if not self._bound:
            raise ConnectionError(f"no session of {self.requested_jid}: {self._trouble}")

    async def offline(self) -> None:
        """Disconnect."""
        self.cancel_connection_attempt()
        await self.disconnect()
        # slixmpp drops its sending task without awaiting it, which asyncio reports as an error.
        if self._run_out_filters is not None:
            self._run_out_filters.cancel()
            await asyncio.wait([self._run_out_filters])

    def _on_session(self, _: Any) -> None:
        self._bound = True
        self._settled.set()

    def _on_end(self, reason: object) -> None:
        self._trouble.append(str(reason))
        self._settled.set()


class Client(Session):
    """A client of an account, for conversations and archive queries."""

    def __init__(self, jid: str, password: str, port: int) -> None:
        super().__init__(jid, password, port)
        self.live: list[ReceivedMessage] = []
        self._results: list[ReceivedMessage] = []
        self._heard = asyncio.Condition()
        self.add_event_handler("message", self._on_message)
        path = f"{{jabber:client}}message/{_RESULT}"
        self.register_handler(Callback("result", MatchXPath(path), self._on_result))

    async def online(self) -> None:
        """Connect and send presence; raises as `bind` does."""
        await self.bind()
        self.send_presence()

    async def add_contact(self, contact: str) -> None:
        """Add a bare JID to the roster, for the policy `roster`."""
        roster = ET.Element(f"{{{_ROSTER}}}query")
        ET.SubElement(roster, f"{{{_ROSTER}}}item", jid=contact)
        await self.make_iq_set(roster).send(timeout=_TIMEOUT)

    def say(self, to: str, body: str) -> None:
        """Send a chat message to a bare JID."""
        self.send_message(mto=JID(to), mbody=body, mtype="chat")

    async def wait_received(self, count: int) -> None:
        """Wait until a number of messages has been received.

        Raises:
            TimeoutError: Fewer after 30 seconds.
        """
        async with asyncio.timeout(_TIMEOUT), self._heard:
            await self._heard.wait_for(lambda: len(self.live) >= count)

    async def page(self, after: str = "", size: int = 50) -> Page:
        """Query the page after an id, by default the first page.

        Raises:
            slixmpp.exceptions.IqError: The archive answered with an error.
            slixmpp.exceptions.IqTimeout: No answer within 30 seconds.
        """
        return await self._ask(size, **({"after": after} if after else {}))

    async def latest(self, size: int = 50) -> Page:
        """Query the last page.

        Raises:
            slixmpp.exceptions.IqError: The archive answered with an error.
            slixmpp.exceptions.IqTimeout: No answer within 30 seconds.
        """
        return await self._ask(size, before="")

    async def _ask(self, size: int, **place: str) -> Page:
        self._results.clear()
        query = ET.Element(f"{{{_MAM}}}query")
        rsm = ET.SubElement(query, f"{{{_RSM}}}set")
        for name, value in {"max": str(size), **place}.items():
            ET.SubElement(rsm, f"{{{_RSM}}}{name}").text = value
        iq = self.make_iq_set(query)
        answer = await iq.send(timeout=_TIMEOUT)
        fin = answer.xml.find(f"{{{_MAM}}}fin")
        last = fin.findtext(f"{{{_RSM}}}set/{{{_RSM}}}last") or ""
        complete, stable = fin.get("complete") == "true", fin.get("stable") != "false"
        return Page(list(self._results), last, complete, stable)

    async def archive(self, size: int) -> list[ReceivedMessage]:
        """Page through the whole archive, oldest first."""
        messages: list[ReceivedMessage] = []
        after, complete = "", False
        while not complete:
            page = await self.page(after, size)
            messages += page.messages
            # A page that may lack all that is left has no last message to go on from.
            after, complete = page.last or after, page.complete
        return messages

    async def _on_message(self, message: Any) -> None:
        if not message["body"]:
            return
        own = str(self.boundjid.bare)
        stamped = (e for e in message.xml.iter("{urn:xmpp:sid:0}stanza-id") if e.get("by") == own)
        ids = [element.get("id", "") for element in stamped]
        async with self._heard:
            sender = str(message["from"].bare)
            self.live.append(ReceivedMessage("".join(ids), sender, str(message["body"])))
            self._heard.notify_all()

    def _on_result(self, message: Any) -> None:
        result = message.xml.find(_RESULT)
        inner = result.find(f"{_FORWARD}/{{jabber:client}}message")
        sender = JID(inner.get("from")).bare
        body = inner.findtext("{jabber:client}body") or ""
        self._results.append(ReceivedMessage(result.get("id", ""), sender, body))

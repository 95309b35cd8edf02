"""An XMPP client on loopback, with just what a conversation and its archive need."""

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


class Said(NamedTuple):
    """A message as a client saw it.

    Attributes:
        id: Its id in the client's own archive; empty on what the client sent itself.
        sender: Bare JID.
        body: Its text.
    """

    id: str
    sender: str
    body: str


class Page(NamedTuple):
    """One page of an archive.

    Attributes:
        messages: Oldest first.
        last: The id to page on from.
        complete: Whether nothing is left behind it.
    """

    messages: list[Said]
    last: str
    complete: bool


class Client(ClientXMPP):
    """A client of one account.

    Args:
        jid: Full JID.
        password: The account's.
        port: Prosody's port for clients, on 127.0.0.1.
    """

    def __init__(self, jid: str, password: str, port: int) -> None:
        super().__init__(jid, password)
        self.enable_starttls = False
        self.enable_direct_tls = False
        self.enable_plaintext = True
        self["feature_mechanisms"].unencrypted_plain = True
        self.live: list[Said] = []
        self._port = port
        self._online = asyncio.Event()
        self._results: list[Said] = []
        self._heard = asyncio.Condition()
        self.add_event_handler("session_start", self._on_start)
        self.add_event_handler("message", self._on_message)
        path = f"{{jabber:client}}message/{_RESULT}"
        self.register_handler(Callback("result", MatchXPath(path), self._on_result))

    async def online(self) -> None:
        """Connect and send presence.

        Raises:
            TimeoutError: It takes too long.
        """
        self.connect("127.0.0.1", self._port)
        await asyncio.wait_for(self._online.wait(), _TIMEOUT)

    async def offline(self) -> None:
        """Leave."""
        await self.disconnect()

    async def befriend(self, contact: str) -> None:
        """Put a bare JID into the account's roster, which the default policy asks for."""
        roster = ET.Element(f"{{{_ROSTER}}}query")
        ET.SubElement(roster, f"{{{_ROSTER}}}item", jid=contact)
        await self.make_iq_set(roster).send(timeout=_TIMEOUT)

    def say(self, to: str, body: str) -> None:
        """Send a chat message to a bare JID."""
        self.send_message(mto=JID(to), mbody=body, mtype="chat")

    async def heard(self, count: int) -> None:
        """Wait until so many messages were received.

        Raises:
            TimeoutError: It takes too long.
        """
        async with asyncio.timeout(_TIMEOUT), self._heard:
            await self._heard.wait_for(lambda: len(self.live) >= count)

    async def page(self, after: str = "", size: int = 50) -> Page:
        """Ask for the page behind an id, or for the first one.

        Raises:
            slixmpp.exceptions.IqError: The archive refused it.
        """
        self._results.clear()
        query = ET.Element(f"{{{_MAM}}}query")
        rsm = ET.SubElement(query, f"{{{_RSM}}}set")
        ET.SubElement(rsm, f"{{{_RSM}}}max").text = str(size)
        if after:
            ET.SubElement(rsm, f"{{{_RSM}}}after").text = after
        iq = self.make_iq_set(query)
        answer = await iq.send(timeout=_TIMEOUT)
        fin = answer.xml.find(f"{{{_MAM}}}fin")
        last = fin.findtext(f"{{{_RSM}}}set/{{{_RSM}}}last") or ""
        return Page(list(self._results), last, fin.get("complete") == "true")

    async def archive(self, size: int) -> list[Said]:
        """Read the whole archive, oldest first, in pages of a size."""
        messages: list[Said] = []
        page = await self.page(size=size)
        messages += page.messages
        while not page.complete:
            page = await self.page(page.last, size)
            messages += page.messages
        return messages

    def _on_start(self, _: Any) -> None:
        self.send_presence()
        self._online.set()

    async def _on_message(self, message: Any) -> None:
        if not message["body"]:
            return
        own = str(self.boundjid.bare)
        stamped = (e for e in message.xml.iter("{urn:xmpp:sid:0}stanza-id") if e.get("by") == own)
        ids = [element.get("id", "") for element in stamped]
        async with self._heard:
            sender = str(message["from"].bare)
            self.live.append(Said("".join(ids), sender, str(message["body"])))
            self._heard.notify_all()

    def _on_result(self, message: Any) -> None:
        result = message.xml.find(_RESULT)
        inner = result.find(f"{_FORWARD}/{{jabber:client}}message")
        sender = JID(inner.get("from")).bare
        body = inner.findtext("{jabber:client}body") or ""
        self._results.append(Said(result.get("id", ""), sender, body))

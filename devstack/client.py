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
        stable: False if what was said before the question may still be missing.
    """

    messages: list[Said]
    last: str
    complete: bool
    stable: bool


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
        try:
            await asyncio.wait_for(self._online.wait(), _TIMEOUT)
        except TimeoutError:
            await self.offline()
            raise

    async def offline(self) -> None:
        """Leave."""
        self.cancel_connection_attempt()
        await self.disconnect()
        # slixmpp leaves its sending task to the garbage collector, which complains of it.
        if self._run_out_filters is not None:
            self._run_out_filters.cancel()
            await asyncio.wait([self._run_out_filters])

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
            slixmpp.exceptions.IqTimeout: Nobody answered within 30 seconds.
        """
        return await self._ask(size, **({"after": after} if after else {}))

    async def latest(self, size: int = 50) -> Page:
        """Ask for the last page.

        Raises:
            slixmpp.exceptions.IqError: The archive refused it.
            slixmpp.exceptions.IqTimeout: Nobody answered within 30 seconds.
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

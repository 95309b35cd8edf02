"""A connection to a Prosody as an external component (XEP-0114), kept up until told to stop."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, Literal
from xml.etree import ElementTree as ET

from slixmpp import ComponentXMPP, Presence

from stanzalake.observability import health
from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import KEEP_ALIVE

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 30.0
_STOP_WAIT = 2.0

PING_INTERVAL = 30.0
"""Seconds between keep-alives."""
HANDSHAKE_TIMEOUT = 30.0
"""Seconds from the attempt to connect until Prosody has taken the handshake."""
PING_TIMEOUT = 30.0
"""Seconds for a keep-alive to come back."""
_PING_ID = "keep-alive"

MAX_PADDING = 4096
"""Bytes of white space behind a stanza at most; no tag of ours is longer."""

log = logging.getLogger(__name__)


class _Parser(ET.XMLPullParser):  # type: ignore[type-arg]  # not generic at run time
    """Parses a stream without delay, and remembers an error.

    Attributes:
        broken: Whether the stream is not well-formed, which ends all parsing.
    """

    broken = False

    def feed(self, data: Any) -> None:
        super().feed(data)
        # expat from 2.6 on holds back a tag that was incomplete before, until twice as much came.
        flush = getattr(super(), "flush", None)
        if flush is not None:
            try:
                flush()
            except ET.ParseError:
                self.broken = True

    def read_events(self) -> Iterator[Any]:
        try:
            yield from super().read_events()
        except ET.ParseError:
            self.broken = True
            raise


class Component(ComponentXMPP):
    """A component that connects, reconnects with growing waits, and logs each change once.

    slixmpp keeps the stream. It never sees presences, as its roster would remember every JID.

    Args:
        jid: The component's name in Prosody's configuration.
        secret: Its component_secret.
        address: Host and port of Prosody's component listener.
    """

    def __init__(self, jid: str, secret: str, address: tuple[str, int]) -> None:
        super().__init__(jid, secret, *address)  # type: ignore[no-untyped-call]  # slixmpp's
        self.address = address
        self._trouble = ""
        self._refusal = ""
        self._leaving = False
        self._ended = asyncio.Event()
        self._up = asyncio.Event()
        self._pinging: asyncio.Task[None] | None = None
        self._ping_returned = asyncio.Event()
        self.add_filter("in", self._on_stanza)
        self.add_event_handler("session_start", self._on_start)
        self.add_event_handler("disconnected", self._on_end)
        self.add_event_handler("connection_failed", self._on_failure)
        self.add_event_handler("stream_error", self._on_refusal)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the connection up until `stop` is set, then close the stream cleanly."""
        stopping = asyncio.ensure_future(stop.wait())
        wait = _FIRST_WAIT
        health.report(self.name, up=False)
        while not stop.is_set():
            self._ended.clear()
            self._refusal = ""
            self.connect(*self.address)
            await self._wait_for_end(stopping)
            wait = _FIRST_WAIT if self._up.is_set() else min(2 * wait, _LONGEST_WAIT)
            self._up.clear()
            if not stop.is_set():
                await asyncio.wait({stopping}, timeout=wait)
        self._leaving = True
        self.cancel_connection_attempt()
        if self.is_connected():
            await self.disconnect(wait=_STOP_WAIT)

    async def _wait_for_end(self, stopping: "asyncio.Future[Literal[True]]") -> None:
        """Wait until the connection has ended, or the component is to stop."""
        ended = asyncio.ensure_future(self._ended.wait())
        # A host that is frozen or has vanished may take the connection, and never answer.
        timer = self.loop.call_later(HANDSHAKE_TIMEOUT, self._require_handshake)
        await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        ended.cancel()

    def _require_handshake(self) -> None:
        if self._up.is_set():
            return
        if self.is_connected():
            self._drop("no answer to the handshake")
        else:
            self._on_failure("no answer")

    async def ready(self) -> None:
        """Wait until Prosody has taken the handshake."""
        await self._up.wait()

    def init_parser(self) -> None:
        """Make the parser of a new stream (slixmpp)."""
        super().init_parser()
        self.parser = _Parser(("start", "end"))

    def data_received(self, data: bytes | str) -> None:
        """Parse a chunk of the stream, and give up a broken stream (asyncio)."""
        super().data_received(data)
        if isinstance(self.parser, _Parser) and self.parser.broken:
            self._drop("the stream is not well-formed")

    def send_raw(self, data: str | bytes) -> None:
        """Send stanzas, with white space behind them that pushes the last tag through expat.

        From 2.6 on expat holds back an incomplete tag until twice as much has come: at the other
        end, a tag cut in two by the network would wait for the next stanza.
        """
        raw = data.encode() if isinstance(data, str) else data
        super().send_raw(raw + b" " * min(len(raw), MAX_PADDING))

    @property
    def name(self) -> str:
        """The component and its server, for messages to the operator."""
        return f"{self.boundjid.bare} at {self.address[0]}:{self.address[1]}"

    def _on_stanza(self, stanza: Any) -> Any:
        if isinstance(stanza, Presence):
            return None
        sent = stanza.xml.attrib
        if sent.get("id") == _PING_ID and sent.get("from") == sent.get("to") == self.boundjid.bare:
            self._on_ping(sent.get("type"))
            return None
        return stanza

    async def _keep_alive(self) -> None:
        """Ping the component itself, through Prosody, at intervals.

        A ping to a host (XEP-0199) would be answered on this stream even after Prosody has
        forgotten whose stream it is, as when its module ``component`` is reloaded.
        """
        itself = self.boundjid.bare
        payload = markup.element("ping", {"xmlns": KEEP_ALIVE})
        addresses = {"type": "get", "id": _PING_ID, "from": itself, "to": itself}
        ping = markup.element("iq", addresses, payload)
        while True:
            await asyncio.sleep(PING_INTERVAL)
            self._ping_returned.clear()
            self.send_raw(ping)
            try:
                await asyncio.wait_for(self._ping_returned.wait(), PING_TIMEOUT)
            except TimeoutError:
                self._drop("no answer to a keep-alive")
                return

    def _on_ping(self, kind: str | None) -> None:
        if kind == "get":
            self._ping_returned.set()
        else:
            self._drop("Prosody has forgotten the connection")

    def _drop(self, reason: str) -> None:
        """Abort the connection, so that the component reconnects."""
        self._refusal = reason
        self.abort()

    def _on_start(self, _: Any) -> None:
        self._trouble = ""
        self._pinging = asyncio.create_task(self._keep_alive())
        self._up.set()
        health.report(self.name, up=True)
        log.info("%s: connected", self.name)

    def _on_refusal(self, error: Any) -> None:
        self._refusal = str(error["condition"])

    def _on_failure(self, error: Any) -> None:
        self.cancel_connection_attempt()
        self._end(f"cannot be reached ({error})")

    def _on_end(self, reason: Any) -> None:
        if self._refusal == "not-authorized":
            self._end(
                "Prosody refused the secret: STANZALAKE_COMPONENT_SECRET must equal "
                f'component_secret of Component "{self.boundjid.bare}"'
            )
        elif self._refusal == "host-unknown":
            self._end(f'Prosody\'s configuration has no Component "{self.boundjid.bare}"')
        elif self._refusal == "conflict":
            self._end("another process is connected under this name")
        else:
            self._end(f"disconnected ({self._refusal or reason or 'closed by the server'})")

    def _end(self, trouble: str) -> None:
        if trouble != self._trouble and not self._leaving:
            log.warning("%s: %s; trying again until it works", self.name, trouble)
        self._trouble = trouble
        if self._pinging is not None:
            self._pinging.cancel()
        health.report(self.name, up=False)
        self._ended.set()

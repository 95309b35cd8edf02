"""One connection to a Prosody as an external component (XEP-0114), kept up until told to stop."""

import asyncio
import logging
from typing import Any

from slixmpp import ComponentXMPP

from stanzalake.observability import health

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 30.0
_STOP_WAIT = 2.0

log = logging.getLogger(__name__)


class Component(ComponentXMPP):
    """A component that connects, reconnects with growing waits, and says so once a change.

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
            ended = asyncio.ensure_future(self._ended.wait())
            await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            wait = _FIRST_WAIT if self._up.is_set() else min(2 * wait, _LONGEST_WAIT)
            self._up.clear()
            if not stop.is_set():
                await asyncio.wait({stopping}, timeout=wait)
        self._leaving = True
        self.cancel_connection_attempt()
        if self.is_connected():
            await self.disconnect(wait=_STOP_WAIT)

    async def ready(self) -> None:
        """Wait until Prosody has taken the handshake."""
        await self._up.wait()

    @property
    def name(self) -> str:
        """The component and its server, for messages to the operator."""
        return f"{self.boundjid.bare} at {self.address[0]}:{self.address[1]}"

    def _on_start(self, _: Any) -> None:
        self._trouble = ""
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
        health.report(self.name, up=False)
        self._ended.set()

"""The ingest component: appends each batch of a tap to the log and answers (docs/protocol.md)."""

import logging
from typing import Any
from xml.etree import ElementTree as ET

from slixmpp.xmlstream.handler import CoroutineCallback
from slixmpp.xmlstream.matcher import MatchXPath

from ingest.batch import NAMESPACE, decode_batch
from ingest.taps import Taps
from stanzalake.errors import StanzalakeError
from stanzalake.log import watermarks
from stanzalake.log.base import EVENTS, REJECTED, Log
from stanzalake.log.watermarks import Watermarks
from stanzalake.observability.log_once import LogOnce
from stanzalake.observability.metrics import APPEND_SECONDS, EVENTS_TAKEN
from stanzalake.xmpp.component import Component

MAX_PENDING = 64 * 1024 * 1024
"""Bytes of pending batches per connection; a tap keeps further ones and sends them again."""

_MAX_INSTANCE = 64
_BATCH = f"{{{NAMESPACE}}}batch"
_STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"

log = logging.getLogger(__name__)


class IngestComponent(Component):
    """Appends batches to the log, and acknowledges them once they are durable.

    Args:
        jid: The component's name in Prosody's configuration.
        secret: The component_secret.
        address: Host and port of Prosody's component listener.
        log: The log that receives the events.
        taps: The taps that may send batches, shared by the connections of the process.
    """

    def __init__(
        self, jid: str, secret: str, address: tuple[str, int], log: Log, taps: Taps
    ) -> None:
        super().__init__(jid, secret, address)
        self._log = log
        self._taps = taps
        self._pending = 0
        self._append_failure = LogOnce(__name__, self.name)
        self._refused_sender = LogOnce(__name__, self.name)
        path = MatchXPath(f"{{{self.default_ns}}}iq/{_BATCH}")
        self.register_handler(CoroutineCallback("batch", path, self._on_batch))

    async def _on_batch(self, iq: Any) -> None:
        if iq["type"] not in ("get", "set"):
            return
        # Anybody may send to a component; only a host itself, not its users, is a tap.
        host = str(iq["from"])
        if host not in self._taps or iq["type"] != "set":
            self._refused_sender.begin("refused a batch from a JID that is no tap")
            self._refuse(iq, "auth", "forbidden")
            return
        batch = iq.xml.find(_BATCH)
        text = batch.text or ""
        if self._pending + len(text) > MAX_PENDING:
            self._refuse(iq, "wait", "resource-constraint")
            return
        self._taps.note(host, batch.get("instance", "")[:_MAX_INSTANCE])
        self._pending += len(text)
        try:
            await self._append(iq, text, host)
        finally:
            self._pending -= len(text)

    async def _append(self, iq: Any, text: str, host: str) -> None:
        """Append a batch and answer the tap."""
        try:
            rejected, ends = await self._store(text, host)
        except StanzalakeError as error:
            level = logging.WARNING if error.retry else logging.ERROR
            self._append_failure.begin(f"batches are not taken: {error}", level)
            self._refuse(iq, "wait", "resource-constraint")
            return
        self._append_failure.end()
        if rejected:
            log.error("%s: %d invalid events of %s went to %s", self.name, rejected, host, REJECTED)
            self._refuse(iq, "modify", "bad-request", ends)
        else:
            _reply(iq, ends).send()

    async def _store(self, text: str, host: str) -> tuple[int, Watermarks]:
        """Append a batch; return the number of rejected events, and the events' watermarks."""
        batch = decode_batch(text, host)
        with APPEND_SECONDS.time():
            await self._log.append(REJECTED, batch.rejected)
            ends = await self._log.append(EVENTS, batch.events)
        EVENTS_TAKEN.labels("taken").inc(len(batch.events))
        EVENTS_TAKEN.labels("rejected").inc(len(batch.rejected))
        return len(batch.rejected), ends

    def _refuse(self, iq: Any, kind: str, condition: str, ends: Watermarks | None = None) -> None:
        reply = _reply(iq, ends)
        reply["type"] = "error"
        # slixmpp builds errors in jabber:client, which is invalid on a component's stream.
        error = ET.SubElement(reply.xml, f"{{{self.default_ns}}}error", type=kind)
        ET.SubElement(error, f"{{{_STANZAS}}}{condition}")
        reply.send()


def _reply(iq: Any, ends: Watermarks | None) -> Any:
    """Build the answer, with the events' watermarks if any were appended."""
    reply = iq.reply(clear=True)
    if ends is not None:
        ET.SubElement(reply.xml, _BATCH, ends=watermarks.write(ends))
    return reply

"""The ingest component: the answer to each batch of a tap (docs/protocol.md)."""

import logging
from collections.abc import Collection
from typing import Any
from xml.etree import ElementTree as ET

from slixmpp.xmlstream.handler import CoroutineCallback
from slixmpp.xmlstream.matcher import MatchXPath

from ingest.batch import NAMESPACE, sort
from stanzalake.errors import StanzalakeError
from stanzalake.log import watermarks
from stanzalake.log.base import EVENTS, REJECTED, Log
from stanzalake.log.watermarks import Watermarks
from stanzalake.observability.log_once import LogOnce
from stanzalake.observability.metrics import APPEND_SECONDS, EVENTS_TAKEN
from stanzalake.xmpp.component import Component

MAX_IN_WORK = 64 * 1024 * 1024
"""Bytes of batches in work on one connection; a tap keeps what is more, and sends it again."""

_BATCH = f"{{{NAMESPACE}}}batch"
_STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"

log = logging.getLogger(__name__)


class IngestComponent(Component):
    """Appends what a tap sends to the log, and acknowledges only then.

    Args:
        jid: The component's name in Prosody's configuration.
        secret: Its component_secret.
        address: Host and port of Prosody's component listener.
        hosts: The VirtualHosts whose taps are heard.
        log: Where events go.
    """

    def __init__(
        self, jid: str, secret: str, address: tuple[str, int], hosts: Collection[str], log: Log
    ) -> None:
        super().__init__(jid, secret, address)
        self._hosts = frozenset(hosts)
        self._log = log
        self._in_work = 0
        self._waiting = LogOnce(__name__, self.name)
        self._stranger = LogOnce(__name__, self.name)
        path = MatchXPath(f"{{{self.default_ns}}}iq/{_BATCH}")
        self.register_handler(CoroutineCallback("batch", path, self._on_batch))

    async def _on_batch(self, iq: Any) -> None:
        if iq["type"] not in ("get", "set"):
            return
        # Anybody may send to a component: only a host itself, not its users, is a tap.
        host = str(iq["from"])
        if host not in self._hosts or iq["type"] != "set":
            self._stranger.begin("refused a batch from somebody who is no tap")
            self._refuse(iq, "auth", "forbidden")
            return
        text = iq.xml.findtext(_BATCH) or ""
        if self._in_work + len(text) > MAX_IN_WORK:
            self._refuse(iq, "wait", "resource-constraint")
            return
        self._in_work += len(text)
        try:
            await self._take(iq, text, host)
        finally:
            self._in_work -= len(text)

    async def _take(self, iq: Any, text: str, host: str) -> None:
        """Answer a batch once what is in it is durable."""
        try:
            rejected, places = await self._store(text, host)
        except StanzalakeError as error:
            level = logging.WARNING if error.retry else logging.ERROR
            self._waiting.begin(f"batches are not taken: {error}", level)
            self._refuse(iq, "wait", "resource-constraint")
            return
        self._waiting.end()
        if rejected:
            log.error("%s: kept %d bad events of %s in %s", self.name, rejected, host, REJECTED)
            self._refuse(iq, "modify", "bad-request", places)
        else:
            _reply(iq, places).send()

    async def _store(self, text: str, host: str) -> tuple[int, Watermarks]:
        """Make the batch durable; give how many of its records were rejected, and its ends."""
        batch = sort(text, host)
        with APPEND_SECONDS.time():
            await self._log.append(REJECTED, batch.rejected)
            places = await self._log.append(EVENTS, batch.events)
        EVENTS_TAKEN.labels("taken").inc(len(batch.events))
        EVENTS_TAKEN.labels("rejected").inc(len(batch.rejected))
        return len(batch.rejected), places

    def _refuse(self, iq: Any, kind: str, condition: str, places: Watermarks | None = None) -> None:
        reply = _reply(iq, places)
        reply["type"] = "error"
        # slixmpp's own error is of a client's namespace, which is none on a component's stream.
        error = ET.SubElement(reply.xml, f"{{{self.default_ns}}}error", type=kind)
        ET.SubElement(error, f"{{{_STANZAS}}}{condition}")
        reply.send()


def _reply(iq: Any, places: Watermarks | None) -> Any:
    """Give the answer that says where in the log the events are, if they are there."""
    reply = iq.reply(clear=True)
    if places is not None:
        ET.SubElement(reply.xml, _BATCH, ends=watermarks.write(places))
    return reply

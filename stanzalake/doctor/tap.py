"""Queries the tap of a host over a component's stream (docs/protocol.md, Check).

The stream is opened as in XEP-0114, and the query carries the proof of the handshake instead of
completing the handshake, so that a connected component stays connected.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from stanzalake.model.position import to_milliseconds

NAMESPACE = "urn:stanzalake:check:1"

_STREAM = "http://etherx.jabber.org/streams"
_TIMEOUT = 5.0
_READ = 4096
_MAX_READ = 64 * 1024


class Unreachable(Exception):
    """No component listener answers at the address."""


class Refused(Exception):
    """Prosody closed the stream; the text is the condition (RFC 6120 §4.9.3)."""


class Answer(NamedTuple):
    """State of a host's tap.

    Attributes:
        version: Version of the events that the tap writes.
        position: The tap's clock as a position.
        last: The last assigned position; the clock's if the module is too old.
        id: The clock's position, sealed for the host with the tap's key.
        clock: Milliseconds that the tap's clock is ahead of this machine's, and the uncertainty.
        policy: stanzalake_policy, as PROSODY_ARCHIVE_POLICY writes it; empty if the module is too
            old to have this field and the next two.
        smart: stanzalake_smart.
        excluded: Excluded namespaces, including the defaults.
        stanza_limit: Bytes of a component's stanza that Prosody takes; None if the module is too
            old to have this field.
        expires_after: muc_log_expires_after, which has no effect; empty if that is not set.
        kind: "accounts" or "rooms": whose archives the host has.
        mam: Whether the module that mod_stanzalake replaces is loaded as well.
        listed: Whether the host has the component in `stanzalake_ingest` or `stanzalake_query`.
        connected: Whether a process is connected as the component.
        instance: Id of the journal; empty if the module is too old to have one.
        waiting: Unacknowledged bytes in the journal.
        limit: Maximum size of the journal, bytes.
    """

    version: int
    position: int
    last: int
    id: str
    clock: tuple[int, int]
    policy: str
    smart: bool
    excluded: frozenset[str]
    stanza_limit: int | None
    expires_after: str
    kind: str
    mam: bool
    listed: bool
    connected: bool
    instance: str
    waiting: int
    limit: int


class _Stream:
    """Reads a stream element by element."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("start", "end"))
        self._events: Iterator[Any] = self._parser.read_events()
        self._depth = 0
        self._size = 0

    async def head(self) -> ET.Element:
        """Read the stream header."""
        return await self._element("start", 1)

    async def child(self) -> ET.Element:
        """Read the next top-level element."""
        return await self._element("end", 1)

    async def _element(self, kind: str, depth: int) -> ET.Element:
        while True:
            for event, element in self._events:
                self._depth += 1 if event == "start" else -1
                if event == kind and self._depth == depth:
                    found: ET.Element = element
                    return found
            await self._feed()

    async def _feed(self) -> None:
        data = await self._reader.read(_READ)
        self._size += len(data)
        if not data or self._size > _MAX_READ:
            raise Unreachable("no component listener: the connection was closed")
        try:
            self._parser.feed(data)
            self._events = self._parser.read_events()
        except ET.ParseError:
            raise Unreachable("no component listener: it does not answer in XML") from None


async def query(address: tuple[str, int], jid: str, secret: str, host: str) -> Answer:
    """Query the tap of a host, authenticated as a component.

    Args:
        address: Host and port of Prosody's component listener.
        jid: Domain of the component.
        secret: The component_secret; only a hash is sent.
        host: The VirtualHost.

    Raises:
        Unreachable: No component listener answers.
        Refused: The component's domain (`host-unknown`) or secret (`not-authorized`) is wrong, or
            the host has no tap of this version (`unsupported-stanza-type`).
    """
    try:
        async with asyncio.timeout(_TIMEOUT), _connect(address) as (reader, writer):
            stream = _Stream(reader)
            writer.write(_header(jid))
            number = (await stream.head()).get("id", "")
            if not number:
                raise Refused(_condition(await stream.child()))
            before = time.time_ns()
            writer.write(_request(number, secret, host))
            element = await stream.child()
            return _answer(element, before, time.time_ns())
    except TimeoutError:
        raise Unreachable(f"no answer within {_TIMEOUT:.0f} seconds") from None
    except OSError as error:
        raise Unreachable(error.strerror or type(error).__name__) from None


@asynccontextmanager
async def _connect(
    address: tuple[str, int],
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
        writer.write(b"</stream:stream>")
    finally:
        writer.close()


def _header(jid: str) -> bytes:
    return (
        f"<stream:stream xmlns='jabber:component:accept' xmlns:stream='{_STREAM}' "
        f"to={quoteattr(jid)}>"
    ).encode()


def _request(number: str, secret: str, host: str) -> bytes:
    proof = hashlib.sha1((number + secret).encode()).hexdigest()  # noqa: S324  # XEP-0114's
    return f"<check xmlns='{NAMESPACE}' to={quoteattr(host)}>{proof}</check>".encode()


def _condition(element: ET.Element) -> str:
    [condition, *_] = [child.tag.rpartition("}")[2] for child in element] or [element.tag]
    return condition


def _answer(element: ET.Element, before: int, after: int) -> Answer:
    if element.tag != f"{{{NAMESPACE}}}checked":
        raise Refused(_condition(element))
    fields = element.attrib
    try:
        position = int(fields["position"])
        here = (before + after) // 2_000_000
        return Answer(
            version=int(fields["version"]),
            position=position,
            last=int(fields.get("last", position)),
            id=fields["id"],
            clock=(to_milliseconds(position) - here, (after - before) // 2_000_000),
            policy=fields.get("policy", ""),
            smart=fields.get("smart") == "true",
            excluded=frozenset(fields.get("excluded", "").split()),
            stanza_limit=int(fields["stanza_limit"]) if "stanza_limit" in fields else None,
            expires_after=fields.get("expires_after", ""),
            kind=fields.get("kind", "accounts"),
            mam=fields["mam"] == "true",
            listed=fields["listed"] == "true",
            connected=fields["connected"] == "true",
            instance=fields.get("instance", ""),
            waiting=int(fields["waiting"]),
            limit=int(fields["limit"]),
        )
    except (KeyError, ValueError):
        raise Unreachable("the answer of its mod_stanzalake cannot be read") from None

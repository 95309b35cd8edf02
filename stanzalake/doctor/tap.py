"""A question to the tap on a component's stream (docs/protocol.md, Check), for one host.

The stream is opened as XEP-0114 says it, and the question carries the handshake's own proof in
place of the handshake: so the component that is connected stays connected.
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
_WITHIN = 5.0
_READ = 4096
_MAX_READ = 64 * 1024


class Unreachable(Exception):
    """Nobody answers there, or nobody who speaks XEP-0114."""


class Refused(Exception):
    """Prosody closed the stream; the text is the condition (RFC 6120 §4.9.3)."""


class Answer(NamedTuple):
    """What the tap of a host said.

    Attributes:
        version: Of the events that it writes.
        position: Its clock, as the position of an event of that moment.
        id: That position, sealed for the host with the tap's key.
        clock: How far it is ahead of this machine, milliseconds, and how far that may be wrong.
        policy: Its stanzalake_policy, as PROSODY_ARCHIVE_POLICY names it; empty if the module is
            too old to have these three.
        smart: Its stanzalake_smart.
        excluded: Namespaces that it excludes, the defaults included.
        mam: Whether mod_mam is loaded besides.
        listed: Whether the host has the component in `stanzalake_ingest` or `stanzalake_query`.
        connected: Whether a process is connected as the component.
        waiting: Bytes in the journal that ingest has not taken.
        limit: Bytes that may wait there.
    """

    version: int
    position: int
    id: str
    clock: tuple[int, int]
    policy: str
    smart: bool
    excluded: frozenset[str]
    mam: bool
    listed: bool
    connected: bool
    waiting: int
    limit: int


class _Stream:
    """A stream that is read element by element, and no further than is asked for."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("start", "end"))
        self._events: Iterator[Any] = self._parser.read_events()
        self._depth = 0
        self._size = 0

    async def head(self) -> ET.Element:
        """Give the stream's first tag."""
        return await self._element("start", 1)

    async def child(self) -> ET.Element:
        """Give its next element."""
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
            raise Unreachable("no component listener: what it says is no XML") from None


async def ask(address: tuple[str, int], jid: str, secret: str, host: str) -> Answer:
    """Ask the tap of a host, as a component.

    Args:
        address: Host and port of Prosody's component listener.
        jid: The component's name.
        secret: Its component_secret; only a hash of it is sent.
        host: The VirtualHost.

    Raises:
        Unreachable: Nobody is there, or no component listener.
        Refused: The component's name (`host-unknown`) or secret (`not-authorized`) is wrong, or
            no tap that can be asked is loaded on the host (`unsupported-stanza-type`).
    """
    try:
        async with asyncio.timeout(_WITHIN), _connected(address) as (reader, writer):
            stream = _Stream(reader)
            writer.write(_header(jid))
            number = (await stream.head()).get("id", "")
            if not number:
                raise Refused(_condition(await stream.child()))
            before = time.time_ns()
            writer.write(_question(number, secret, host))
            element = await stream.child()
            return _answer(element, before, time.time_ns())
    except TimeoutError:
        raise Unreachable(f"no answer within {_WITHIN:.0f} seconds") from None
    except OSError as error:
        raise Unreachable(error.strerror or type(error).__name__) from None


@asynccontextmanager
async def _connected(
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


def _question(number: str, secret: str, host: str) -> bytes:
    proof = hashlib.sha1((number + secret).encode()).hexdigest()  # noqa: S324  # XEP-0114's
    return f"<check xmlns='{NAMESPACE}' to={quoteattr(host)}>{proof}</check>".encode()


def _condition(element: ET.Element) -> str:
    [condition, *_] = [child.tag.rpartition("}")[2] for child in element] or [element.tag]
    return condition


def _answer(element: ET.Element, before: int, after: int) -> Answer:
    if element.tag != f"{{{NAMESPACE}}}checked":
        raise Refused(_condition(element))
    given = element.attrib
    try:
        position = int(given["position"])
        here = (before + after) // 2_000_000
        return Answer(
            version=int(given["version"]),
            position=position,
            id=given["id"],
            clock=(to_milliseconds(position) - here, (after - before) // 2_000_000),
            policy=given.get("policy", ""),
            smart=given.get("smart") == "true",
            excluded=frozenset(given.get("excluded", "").split()),
            mam=given["mam"] == "true",
            listed=given["listed"] == "true",
            connected=given["connected"] == "true",
            waiting=int(given["waiting"]),
            limit=int(given["limit"]),
        )
    except (KeyError, ValueError):
        raise Unreachable("the answer of its mod_stanzalake cannot be read") from None

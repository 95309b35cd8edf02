"""A session of an account over plain TCP, whose stanzas are bytes: no library is in between."""

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree as ET

_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_ACKS = "urn:xmpp:sm:3"


class RawSession:
    """A client, logged in by PLAIN, that writes and reads bytes.

    Args:
        user: Local part of its JID.
        password: The account's.
        host: Domain of its JID.
        port: Prosody's port for clients on 127.0.0.1.
        limit: Bytes that are read up to a separator at most.
    """

    def __init__(
        self, user: str, password: str, host: str, port: int, limit: int = 1 << 16
    ) -> None:
        self.jid = f"{user}@{host}"
        self._user = user
        self._password = password
        self._host = host
        self._port = port
        self._limit = limit
        self._acknowledged: int | None = None

    async def connect(self) -> str:
        """Connect and open a stream; return the features that are offered."""
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._port, limit=self._limit
        )
        with self._or_closed():
            return await self._stream()

    async def authenticate(self) -> None:
        """Log in, up to where a resource is bound or a stream resumed."""
        await self.connect()
        token = base64.b64encode(f"\0{self._user}\0{self._password}".encode()).decode()
        with self._or_closed():
            self.write(f"<auth xmlns='{_SASL}' mechanism='PLAIN'>{token}</auth>")
            await self.reader.readuntil(b"<success")
            await self._stream()

    async def open(self) -> None:
        """Log in, bind and become available."""
        await self.authenticate()
        with self._or_closed():
            self.write(
                "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
            )
            await self.reader.readuntil(b"</iq>")
            self.write("<presence/>")
            await self.reader.readuntil(b"presence")

    async def manage(self) -> None:
        """Let the server expect acknowledgements of its stanzas from now on (XEP-0198)."""
        self.write(f"<enable xmlns='{_ACKS}'/>")
        await self.reader.readuntil(b"<enabled")
        await self.reader.readuntil(b"/>")
        self._acknowledged = 0

    def acknowledge(self, stanzas: bytes) -> None:
        """Acknowledge stanzas that were read, if the server expects it."""
        if self._acknowledged is None:
            return
        elements = ET.fromstring(b"<read>" + stanzas + b"</read>")  # noqa: S314  # our server's
        self._acknowledged += sum(not one.tag.startswith(f"{{{_ACKS}}}") for one in elements)
        self.write(f"<a xmlns='{_ACKS}' h='{self._acknowledged}'/>")

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        await self.writer.wait_closed()

    def write(self, text: str) -> None:
        """Send some text, as it is."""
        self.writer.write(text.encode())

    @contextmanager
    def _or_closed(self) -> Iterator[None]:
        """Drop the connection if the block fails."""
        try:
            yield
        except BaseException:
            self.writer.transport.abort()
            raise

    async def _stream(self) -> str:
        self.write(
            f"<stream:stream to='{self._host}' version='1.0' xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        return (await self.reader.readuntil(b"</stream:features>")).decode()

"""A listener that stands in for Prosody's: sends stanzas to a component, and reads its answers.

Speaks just enough of XEP-0114 for that, so that the component alone is measured.
"""

import asyncio
import re
import time
from collections.abc import Sequence

_HEADER = (
    "<stream:stream xmlns='jabber:component:accept' from='{jid}' id='1' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
_IQ = re.compile(rb"<iq ([^>]*)>")
_ID = re.compile(rb"id=[\"']listener-\d+[\"']")
_KEEP_ALIVE = re.compile(rb"id=[\"']keep-alive[\"']")
_ERROR = re.compile(rb"type=[\"']error[\"']")
_TAIL = 4096
"""Bytes that a start tag fits."""


class Listener:
    """Sends requests, no more at a time than the window, and knows when all are answered.

    Args:
        jid: The component's name.
        requests: Contents of iqs of type set.
        window: Requests without an answer at most.
        host: Who asks.

    Attributes:
        begun: Set once the component is connected.
        done: Seconds from the first request to the last answer.
    """

    def __init__(self, jid: str, requests: Sequence[str], window: int, host: str) -> None:
        self._jid = jid
        self._requests = requests
        self._slots = asyncio.Semaphore(window)
        self._host = host
        self.begun = asyncio.Event()
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def listen(self) -> int:
        """Start serving; return the port on 127.0.0.1."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Serve no more."""
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = await reader.readuntil(b"jabber:component:accept") + await reader.readuntil(b">")
        writer.write(_HEADER.format(jid=self._jid).encode())
        await reader.readuntil(b"</handshake>")
        if self._jid.encode() not in header:
            writer.write(b"<handshake/>")
            await reader.read()  # the other component of the same process has nothing to do
            return
        writer.write(b"<handshake/>")
        start = time.perf_counter()
        self.begun.set()
        try:
            await asyncio.gather(self._send(writer), self._hear(reader, writer))
        except ConnectionError as error:
            self.done.set_exception(error)
        else:
            self.done.set_result(time.perf_counter() - start)
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        for number, request in enumerate(self._requests):
            await self._slots.acquire()
            writer.write(
                f"<iq type='set' id='listener-{number}' from='{self._host}' to='{self._jid}'>"
                f"{request}</iq>".encode()
            )
            await writer.drain()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left, answered = b"", 0
        while answered < len(self._requests):
            data = await reader.read(1 << 16)
            if not data:
                raise ConnectionError("the component closed the stream")
            left, end = left + data, 0
            for iq in _IQ.finditer(left):
                if _ERROR.search(iq[1]):
                    raise ConnectionError("the component answered by an error")
                end = iq.end()
                if _KEEP_ALIVE.search(iq[1]):
                    writer.write(b"<iq %b/>" % iq[1])
                if _ID.search(iq[1]):
                    answered += 1
                    self._slots.release()
            left = left[max(end, len(left) - _TAIL) :]

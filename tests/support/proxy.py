"""A TCP proxy whose connections can be cut, as by a failing network."""

import asyncio
from contextlib import suppress

from devstack.ports import free_port

_LOOPBACK = "127.0.0.1"
_CHUNK = 65_536


class Proxy:
    """Stands before a port.

    Attributes:
        port: Where it listens while it is not cut.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._target = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, target: int) -> None:
        """Pass connections on to a port."""
        self._target = target
        await self.mend()

    async def mend(self) -> None:
        """Take connections again."""
        self._server = await asyncio.start_server(self._serve, _LOOPBACK, self.port)

    def cut(self) -> None:
        """Drop every connection, and refuse new ones until it is mended."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection(_LOOPBACK, self._target)
        except OSError:
            self._leave(writer)
            return
        self._writers.add(back)
        pumps = [asyncio.ensure_future(_pump(*ends)) for ends in ((reader, back), (there, writer))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        self._leave(writer, back)
        await asyncio.wait(pumps)

    def _leave(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            writer.close()
        self._writers.difference_update(writers)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()

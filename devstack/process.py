"""A process on loopback, known by its handle and ended by it."""

import asyncio
from dataclasses import dataclass, field
from signal import Signals
from typing import ClassVar


@dataclass(kw_only=True)
class Process:
    """What runs, once it is started."""

    _process: asyncio.subprocess.Process | None = field(default=None, init=False, repr=False)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The number of the process of its last start."""
        assert self._process is not None  # noqa: S101  # who asks has started it
        return self._process.pid

    def signal(self, number: Signals) -> None:
        """Send the process a signal."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)


@dataclass(kw_only=True)
class Server(Process):
    """A program of others, which may not end when it is asked to."""

    stop_wait: ClassVar[float]
    """Seconds for which it may take its time."""

    async def stop(self) -> None:
        """End the process with SIGTERM, and with SIGKILL if that takes too long."""
        if self._process is None:
            return
        if self.alive:
            self._process.terminate()
        try:
            async with asyncio.timeout(self.stop_wait):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would; `stop` then waits for its end."""
        if self._process is not None and self.alive:
            self._process.kill()

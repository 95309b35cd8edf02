"""One process of `stanzalake`, started and ended by its handle."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from devstack.process import Process

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL = 0.05

_READY = {
    "up": (": connected", 2),
    "ingest": (": connected", 1),
    "query": (": connected", 1),
    "processor": ("reading partitions of", 1),
}
"""What each command logs once it works, and how often."""


class ServiceFailed(Exception):
    """The process ended at its start; the text ends with its own words."""


@dataclass(kw_only=True)
class Service(Process):
    """A process and its log.

    Attributes:
        command: Which command of `stanzalake` it is.
        environment: Its whole environment.
        log: Its log file, of all its starts.
        tree: The checkout whose code is run; None for what is installed.
    """

    command: str
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    tree: Path | None = None

    async def start(self) -> None:
        """Start it, and wait until it says that it works.

        Raises:
            ServiceFailed: It ended.
            TimeoutError: It does not work within a minute.
        """
        before = await self.launch()
        text, times = _READY[self.command]
        async with asyncio.timeout(_START_SECONDS):
            while self._since(before).count(text) < times:
                if self._process is None or self._process.returncode is not None:
                    raise ServiceFailed(f"{self.command} ended:\n{self._since(before)}")
                await asyncio.sleep(_POLL)

    async def launch(self) -> int:
        """Start it without waiting, and give where its log begins."""
        with self.log.open("ab") as output:
            before = output.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "stanzalake", self.command),
                env=dict(self.environment),
                cwd=self.tree,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the parent, which stops all in order
            )
        return before

    async def stop(self) -> int:
        """End it with SIGTERM and give its exit status."""
        return await self._end(SIGTERM)

    async def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        await self._end(SIGKILL)

    async def wait(self) -> int:
        """Wait until it ends by itself, and give its exit status; 0 if it never started."""
        return 0 if self._process is None else await self._process.wait()

    def _since(self, before: int) -> str:
        return self.log.read_bytes()[before:].decode(errors="replace")

    async def _end(self, number: Signals) -> int:
        self.signal(number)
        async with asyncio.timeout(_STOP_SECONDS):
            return await self.wait()

"""The command line, as an operator uses it."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devstack.ports import free_port
from devstack.process import WITH_PARENT
from devstack.service import Service, environment
from tests.support.settings import REQUIRED

SOON = 30.0


@dataclass(kw_only=True)
class Up(Service):
    """`stanzalake up` without a Prosody, for commands beside it.

    Attributes:
        shared: The file with the DSN of the store, once it is shared.
    """

    command: str = "up"
    shared: Path

    async def start(self) -> None:
        """Start it, and wait until it shares its store."""
        await self.launch()
        await self._works(self.shared.exists)


class Command:
    """Runs `stanzalake` with settings of its own.

    Args:
        directory: Where its data directory is made.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.settings = {
            **REQUIRED,
            "STANZALAKE_DATA_DIR": str(directory / "data"),
            "STANZALAKE_PROSODY": f"127.0.0.1:{free_port()}",
        }

    def up(self) -> Up:
        """Give a `stanzalake up`, to be started."""
        return Up(
            environment=environment(self.settings),
            log=self._directory / "up.log",
            shared=self._directory / "data" / "store.dsn",
        )

    async def start(self, *arguments: str, within: Sequence[str] = ()) -> Process:
        """Start a command, within another one if that is given."""
        return await asyncio.create_subprocess_exec(
            *(*WITH_PARENT, *within, sys.executable, "-m", "stanzalake", *arguments),
            env=environment(self.settings),
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(
        self, *arguments: str, within: Sequence[str] = (), deadline: float = SOON
    ) -> tuple[int, str, str]:
        """Run a command to its end; return its exit status, stdout and stderr."""
        process = await self.start(*arguments, within=within)
        try:
            async with asyncio.timeout(deadline):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        return process.returncode or 0, out.decode(), err.decode()

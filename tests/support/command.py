"""The command line, as an operator uses it."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

from devstack.ports import free_port
from tests.support.settings import REQUIRED

SOON = 30.0


class Command:
    """Runs `stanzalake` with settings of its own.

    Args:
        directory: Where its data directory is made.
    """

    def __init__(self, directory: Path) -> None:
        self.settings = {
            **REQUIRED,
            "STANZALAKE_DATA_DIR": str(directory / "data"),
            "STANZALAKE_PROSODY": f"127.0.0.1:{free_port()}",
        }

    async def start(self, *arguments: str, within: Sequence[str] = ()) -> Process:
        """Start a command, within another one if that is given."""
        outer = {k: v for k, v in os.environ.items() if not k.startswith(("STANZALAKE", "PROSODY"))}
        return await asyncio.create_subprocess_exec(
            *(*within, sys.executable, "-m", "stanzalake", *arguments),
            env={**outer, **self.settings},
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(
        self, *arguments: str, within: Sequence[str] = (), deadline: float = SOON
    ) -> tuple[int, str, str]:
        """Run a command to its end; give its status and what it said on stdout and stderr."""
        process = await self.start(*arguments, within=within)
        try:
            async with asyncio.timeout(deadline):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        return process.returncode or 0, out.decode(), err.decode()

"""A `stanzalake` service as a child process."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack.process import Process

_READY = {
    "up": (": connected", 2),
    "ingest": (": connected", 1),
    "query": (": connected", 1),
    "processor": ("reading partitions of", 1),
}
"""The text that each command logs when ready, and the number of times."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of a process with these settings and none of the caller's own."""
    foreign = ("STANZALAKE_", "PROSODY_")
    outer = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return {**outer, **settings}


@dataclass(kw_only=True)
class Service(Process):
    """A process and its log.

    Attributes:
        command: The command of `stanzalake`.
        environment: The complete environment.
        log: The log file, across restarts.
        tree: The checkout to run code from; None for the installed package.
    """

    command: str
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    tree: Path | None = None

    @property
    def log_path(self) -> Path:
        """The log file."""
        return self.log

    async def start(self) -> None:
        """Start the service, and wait until its log says that it is ready.

        Raises:
            ProgramFailed: The process ended, or is not ready within a minute.
        """
        await self.launch()
        text, times = _READY[self.command]
        await self._works(lambda: self._output().count(text) >= times)

    async def launch(self) -> None:
        """Start the process without waiting."""
        command = (sys.executable, "-m", "stanzalake", self.command)
        await self._launch(*command, environment=dict(self.environment), cwd=self.tree)

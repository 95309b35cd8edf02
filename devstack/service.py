"""One process of `stanzalake`, started and ended by its handle."""

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
"""What each command logs once it works, and how often."""


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

    @property
    def log_path(self) -> Path:
        """The same file, by the name that every program's has."""
        return self.log

    async def start(self) -> None:
        """Start it, and wait until it says that it works.

        Raises:
            ProgramFailed: It ended, or does not work within a minute.
        """
        await self.launch()
        text, times = _READY[self.command]
        await self._works(lambda: self._output().count(text) >= times)

    async def launch(self) -> None:
        """Start it without waiting."""
        command = (sys.executable, "-m", "stanzalake", self.command)
        await self._launch(*command, environment=dict(self.environment), cwd=self.tree)

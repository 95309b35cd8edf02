"""A database server of Debian's on loopback, in a directory of its own."""

import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from devstack.ports import free_port, is_free
from devstack.process import Server

NAME = "prosody"
"""Of the database, and of the user that owns it."""
PASSWORD = "secret"  # noqa: S105  # of an empty database on loopback

# Neither server runs as root.
_AS: dict[str, Any] = (
    {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
)


@dataclass(kw_only=True)
class Database(Server):
    """One server with one database, owned by one user.

    Attributes:
        port: Its port on 127.0.0.1.
        directory: Where everything of it is, until it stops.
    """

    port: int = field(default_factory=free_port)
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="database-")))
    scheme: ClassVar[str]
    """Of its URLs, as operators write them."""
    driver: ClassVar[str]
    """Name of Prosody's driver."""

    @property
    def url(self) -> str:
        """The database, as `stanzalake import` takes it."""
        return f"{self.scheme}://{NAME}:{PASSWORD}@127.0.0.1:{self.port}/{NAME}"

    @property
    def prosody(self) -> str:
        """The database, as a line of Prosody's configuration."""
        return (
            f'sql = {{ driver = "{self.driver}", database = "{NAME}", username = "{NAME}", '
            f'password = "{PASSWORD}", host = "127.0.0.1", port = {self.port} }}\n'
        )

    @property
    def data(self) -> Path:
        """The server's own directory."""
        return self.directory / "data"

    async def start(self) -> None:
        """Make the database, start the server, and wait until it listens."""
        if _AS:
            shutil.chown(self.directory, "nobody", "nogroup")
        await self.prepare()
        await self._launch(*self.command(), cwd=self.directory, **_AS)
        await self._works(lambda: not is_free(self.port))

    async def stop(self) -> int:
        """End the server, and remove what it wrote."""
        status = await super().stop()
        shutil.rmtree(self.directory, ignore_errors=True)
        return status

    @property
    def log_path(self) -> Path:
        """The output of the server and its tools."""
        return self.directory / "log"

    @abstractmethod
    async def prepare(self) -> None:
        """Make the server's directory."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Give the server's command."""

    async def run(self, *command: str | Path) -> None:
        """Run one of the server's tools to its end."""
        await self._launch(*command, cwd=self.directory, **_AS)
        if await self.wait():
            raise self._failure(f"could not run {command[0]}")

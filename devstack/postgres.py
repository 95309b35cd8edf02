"""PostgreSQL on loopback."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from typing import ClassVar

from devstack.database import NAME, PASSWORD, Database


def _tool(name: str) -> Path:
    """Find a program that Debian does not put into the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found[-1] if found else Path(shutil.which(name) or name)


@dataclass(kw_only=True)
class Postgres(Database):
    """A PostgreSQL server."""

    scheme: ClassVar[str] = "postgresql"
    driver: ClassVar[str] = "PostgreSQL"

    async def stop(self) -> int:
        """End the server without waiting for its clients, and remove what it wrote."""
        self.signal(SIGINT)
        return await super().stop()

    async def prepare(self) -> None:
        """Make the database cluster and the database."""
        password = self.directory / "password"
        password.write_text(PASSWORD)
        options = ("--username", NAME, "--pwfile", password, "--auth", "scram-sha-256")
        locale = ("--encoding", "UTF8", "--locale", "C", "--no-sync")
        await self.run(_tool("initdb"), "--pgdata", self.data, *options, *locale)
        # Before the server runs it is alone with its files, and makes the database without a login.
        statement = self.directory / "create.sql"
        statement.write_text(f"CREATE DATABASE {NAME};\n")
        single = (_tool("postgres"), "--single", "-D", self.data, "postgres")
        await self.run("sh", "-c", 'input=$1; shift; exec "$@" <"$input"', "-", statement, *single)

    def command(self) -> Sequence[str | Path]:
        """Give the server's command."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            "fsync": "off",
        }
        options = (f"--{name}={value}" for name, value in settings.items())
        return _tool("postgres"), "-D", self.data, *options

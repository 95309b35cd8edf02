"""MariaDB on loopback."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from devstack.database import NAME, Database

# As https://prosody.im/doc/mysql has it made.
_CREATE = f"CREATE DATABASE IF NOT EXISTS {NAME} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n"


@dataclass(kw_only=True)
class MariaDb(Database):
    """A MariaDB server that takes any login: it is made without the tables that know users."""

    scheme: ClassVar[str] = "mysql"
    driver: ClassVar[str] = "MySQL"

    async def prepare(self) -> None:
        """Make the directory, and the statement that makes the database."""
        await self.run("mkdir", self.data)
        (self.directory / "create.sql").write_text(_CREATE)

    def command(self) -> Sequence[str | Path]:
        """Give the server's command."""
        return (
            *("mariadbd", "--no-defaults", f"--datadir={self.data}", "--skip-grant-tables"),
            *("--bind-address=127.0.0.1", f"--port={self.port}"),
            f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}",
            f"--init-file={self.directory / 'create.sql'}",
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-fast-shutdown=2"),
        )

"""A ClickHouse process on loopback, for tests and the local demo.

Runs the ClickHouse engine (chDB) behind ClickHouse's HTTP interface, see `clickhouse_server`.
"""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from devstack.clickhouse_server import DATABASE
from devstack.ports import free_port, is_free
from devstack.process import Process
from stanzalake.store.chdb.http import HOST


@dataclass(kw_only=True)
class ClickHouse(Process):
    """A process and its directory.

    Attributes:
        directory: Configuration, data and log; created if missing. Data outlive the process.
        port: HTTP port on 127.0.0.1.
        users: Configuration file of users and roles, as for a server's `users.d`; by default
            there is only the user `default`, with all rights.
        config: Other configuration file, as for a server's `config.d`.
        environment: Variables that the configuration refers to.
        certificate: PEM file with key and certificate, for TLS.
    """

    directory: Path
    port: int = field(default_factory=free_port)
    users: Path | None = None
    config: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificate: Path | None = None

    @property
    def log_path(self) -> Path:
        """The output: a JSON object for each request and for each response."""
        return self.directory / "clickhouse.log"

    @property
    def log(self) -> str:
        """The output as text."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def dsn(self, user: str = "default", password: str = "") -> str:
        """Return a DSN of the database `stanzalake`."""
        scheme = "clickhouses" if self.certificate else "clickhouse"
        secret = quote(password, safe="")
        return f"{scheme}://{user}:{secret}@{HOST}:{self.port}/{DATABASE}"

    async def start(self) -> None:
        """Start the process and wait until it accepts connections.

        Raises:
            ProgramFailed: The process ended, or does not listen within a minute.
        """
        self._copy(self.users, "users.d")
        self._copy(self.config, "config.d")
        tls = ("--certificate", self.certificate) if self.certificate else ()
        await self._launch(
            *(sys.executable, "-m", "devstack.clickhouse_server"),
            *("--port", str(self.port), "--data", self.directory.absolute(), *tls),
            environment=dict(self.environment),
        )
        await self._works(lambda: not is_free(self.port))

    def _copy(self, file: Path | None, place: str) -> None:
        (self.directory / place).mkdir(mode=0o700, parents=True, exist_ok=True)
        if file is not None:
            shutil.copy(file, self.directory / place)

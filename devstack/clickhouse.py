"""A ClickHouse on loopback, as a process of its own: for tests and the local demo.

What runs is the engine behind ClickHouse's HTTP interface, see `clickhouse_server`.
"""

import asyncio
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from devstack.clickhouse_server import DATABASE
from devstack.ports import free_port
from devstack.process import Process
from stanzalake.store.chdb.http import HOST

_START_WAIT = 30.0
_STOP_WAIT = 20.0
_POLL = 0.02
_LOG_TAIL = 4000


class ClickHouseFailed(Exception):
    """The process did not start; the text ends with its own words."""


@dataclass(kw_only=True)
class ClickHouse(Process):
    """One process and its directory.

    Attributes:
        directory: Configuration, data and log; made if missing. Data outlive the process.
        port: Its HTTP port on 127.0.0.1.
        users: File with users and roles, as a server reads it from `users.d`; without one,
            everybody is the user `default`, who may do everything.
        config: File with other configuration, as a server reads it from `config.d`.
        environment: Variables that the files refer to.
        certificate: PEM file with a key and a certificate, for TLS.
    """

    directory: Path
    port: int = field(default_factory=free_port)
    users: Path | None = None
    config: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificate: Path | None = None

    @property
    def log(self) -> str:
        """What it logged: one JSON object for each request, and one for each answer."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def dsn(self, user: str = "default", password: str = "") -> str:
        """Give a DSN of the database `stanzalake`."""
        scheme = "clickhouses" if self.certificate else "clickhouse"
        secret = quote(password, safe="")
        return f"{scheme}://{user}:{secret}@{HOST}:{self.port}/{DATABASE}"

    async def start(self) -> None:
        """Start the process and wait until it accepts connections.

        Raises:
            ClickHouseFailed: It ended, or does not listen within 30 seconds.
        """
        self._copy(self.users, "users.d")
        self._copy(self.config, "config.d")
        tls = ("--certificate", self.certificate) if self.certificate else ()
        with self._log_path.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "devstack.clickhouse_server"),
                *("--port", str(self.port), "--data", self.directory.absolute(), *tls),
                env=dict(self.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the parent, which stops all in order
            )
        try:
            async with asyncio.timeout(_START_WAIT):
                await self._accepts()
        except TimeoutError:
            await self.kill()
            raise ClickHouseFailed(f"it does not listen:\n{self.log[-_LOG_TAIL:]}") from None

    async def stop(self) -> int:
        """End the process with SIGTERM and give its exit status."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.terminate()
        async with asyncio.timeout(_STOP_WAIT):
            return await self._process.wait()

    async def kill(self) -> None:
        """End the process with SIGKILL, as a crash would."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def _log_path(self) -> Path:
        return self.directory / "clickhouse.log"

    def _copy(self, file: Path | None, place: str) -> None:
        (self.directory / place).mkdir(mode=0o700, parents=True, exist_ok=True)
        if file is not None:
            shutil.copy(file, self.directory / place)

    async def _accepts(self) -> None:
        while True:
            if self._process is None or self._process.returncode is not None:
                raise ClickHouseFailed(f"it ended at its start:\n{self.log[-_LOG_TAIL:]}")
            try:
                _, writer = await asyncio.open_connection(HOST, self.port)
            except ConnectionRefusedError:
                await asyncio.sleep(_POLL)
            else:
                writer.close()
                await writer.wait_closed()
                return

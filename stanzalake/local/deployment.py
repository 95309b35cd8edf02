"""A Prosody with the tap, and `stanzalake up` beside it, in one directory on loopback."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from stanzalake.local.client import Client
from stanzalake.local.ports import free_port
from stanzalake.local.prosody import Prosody

HOST = "localhost"
USERS = ("juliet", "romeo")
INGEST = "ingest.stanzalake"
QUERY = "query.stanzalake"

_STOP_SECONDS = 20.0


class Deployment:
    """Everything that `make up` runs.

    Args:
        directory: Where configuration, secrets, accounts and the archive are kept.
        client_port: Prosody's port for clients; a free one if None.
        settings: More settings for `stanzalake up`.
    """

    def __init__(
        self,
        directory: Path,
        client_port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        directory = directory.absolute()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.client_port = client_port or free_port()
        self.log = directory / "stanzalake.log"
        self.passwords: dict[str, str] = {}
        self._directory = directory
        self._service: asyncio.subprocess.Process | None = None
        component_port = free_port()
        self._settings = {
            "STANZALAKE_HOSTS": HOST,
            "STANZALAKE_PROSODY": f"127.0.0.1:{component_port}",
            "STANZALAKE_INGEST_JID": INGEST,
            "STANZALAKE_QUERY_JID": QUERY,
            "STANZALAKE_DATA_DIR": str(directory / "archive"),
            "STANZALAKE_COMPONENT_SECRET": self._secret("component-secret"),
            "STANZALAKE_ID_KEYS": self._secret("id-key"),
            **(settings or {}),
        }
        self.prosody = Prosody(
            directory=directory / "prosody",
            host=HOST,
            client_port=self.client_port,
            component_port=component_port,
            component_secret=self._settings["STANZALAKE_COMPONENT_SECRET"],
            id_keys=(self._settings["STANZALAKE_ID_KEYS"],),
            ingest=(INGEST,),
            query=(QUERY,),
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment of `stanzalake`: the caller's own settings do not leak in."""
        foreign = ("STANZALAKE_", "PROSODY_")
        outer = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        return {**outer, **self._settings}

    async def start(self) -> None:
        """Start Prosody and the archive, and make the two accounts.

        Raises:
            RuntimeError: One of them ended at once; the text has the end of its log.
        """
        self.prosody.write_config()
        for user in USERS:
            self.passwords[user] = self._secret(f"password-{user}")
            await self.prosody.register(user, self.passwords[user])
        await self.prosody.start()
        await self.start_service()

    async def start_service(self) -> None:
        """Start `stanzalake up`, and wait until Prosody has both its components."""
        with self.log.open("ab") as output:
            start = output.tell()
            self._service = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "stanzalake", "up"),
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the parent, which stops all in order
            )
        await self._connected(start)

    async def stop_service(self) -> int:
        """Stop `stanzalake up` with SIGTERM and give its exit status."""
        return await self._end(signal.SIGTERM)

    async def kill_service(self) -> None:
        """Kill `stanzalake up` with SIGKILL."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Stop both."""
        await self.stop_service()
        await self.prosody.stop()

    async def wait(self) -> None:
        """Wait until `stanzalake up` ends by itself."""
        if self._service is not None:
            await self._service.wait()

    async def client(self, user: str, resource: str = "local") -> Client:
        """Give a client of an account, online."""
        client = Client(f"{user}@{HOST}/{resource}", self.passwords[user], self.client_port)
        await client.online()
        return client

    async def _connected(self, start: int) -> None:
        async with asyncio.timeout(60):
            while self._log_since(start).count(": connected") < len((INGEST, QUERY)):
                if self._service is None or self._service.returncode is not None:
                    raise RuntimeError(f"stanzalake up ended:\n{self._log_since(start)}")
                await asyncio.sleep(0.05)

    def _log_since(self, start: int) -> str:
        return self.log.read_bytes()[start:].decode(errors="replace")

    async def _end(self, number: signal.Signals) -> int:
        if self._service is None:
            return 0
        if self._service.returncode is None:
            self._service.send_signal(number)
        async with asyncio.timeout(_STOP_SECONDS):
            return await self._service.wait()

    def _secret(self, name: str) -> str:
        """Give a secret that stays the same from one start to the next."""
        file = self._directory / name
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(24))
        return file.read_text()

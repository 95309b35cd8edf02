"""The contenders of the end-to-end parts: each a Prosody with the same corpus in its archive."""

import asyncio
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench import accounts, rival, usage
from bench.corpus import HOST, Corpus
from bench.rival import OnPostgres
from devstack.deployment import Deployment
from devstack.process import ProgramFailed
from devstack.prosody import Prosody
from devstack.raw import RawSession
from stanzalake.config import settings
from stanzalake.model.position import Sealer

OURS = "ours"
MOD_MAM = OnPostgres.name
KEEP = {"PROSODY_ARCHIVE_EXPIRES_AFTER": "never", "PROSODY_ARCHIVE_POLICY": "true"}

_ANSWER = 16 << 20
"""Bytes of a page with its end at most."""


class Contender(Protocol):
    """An archive with its Prosody."""

    @property
    def prosody(self) -> Prosody:
        """The server that clients talk to."""

    async def start(self, users: Sequence[str], corpus: Corpus) -> None:
        """Make accounts, whose passwords are their names, fill the archive, and start all."""

    def seal(self, owner: str, position: int) -> str:
        """Return the id of the owner's message at a position."""

    def cpu(self) -> float:
        """Return the CPU seconds used by the archive, without Prosody's."""

    async def restart(self) -> None:
        """Start all anew: nothing is remembered."""

    async def stop(self) -> None:
        """Stop all."""


class Ours:
    """Stanzalake in one process, from this tree or from another checkout.

    Args:
        directory: Directory of the deployment.
        tree: The other checkout.
    """

    def __init__(self, directory: Path, tree: Path | None = None) -> None:
        self._deployment = Deployment(directory, settings=KEEP, tree=tree)
        self._sealer = Sealer(settings.load(self._deployment.settings).id_key_list)

    @property
    def prosody(self) -> Prosody:
        """The server that clients talk to."""
        return self._deployment.prosody

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings of the archive."""
        return self._deployment.settings

    async def start(self, users: Sequence[str], corpus: Corpus) -> None:
        """Fill the embedded store behind the back of its services, then start them."""
        await self._run("migrate")
        await self._fill(corpus)
        await self.serve(users)

    async def serve(self, users: Sequence[str]) -> None:
        """Make accounts, and start the services on the store as it is."""
        self.prosody.extra_host = accounts.PLAIN
        accounts.register(self.prosody, users)
        await self._deployment.start()

    def seal(self, owner: str, position: int) -> str:
        """Return the id of the owner's message at a position."""
        return self._sealer.seal(owner, position)

    def cpu(self) -> float:
        """Return the CPU seconds of `stanzalake up`, the engine included."""
        return sum(usage.tree_cpu(service.pid) for service in self._deployment.services.values())

    async def restart(self) -> None:
        """Start Prosody and the archive anew."""
        await self._deployment.stop()
        await self.prosody.start()
        await self._deployment.start_service()

    async def stop(self) -> None:
        """Stop all."""
        await self._deployment.stop()

    async def _run(self, command: str) -> None:
        service = self._deployment.service(command, command)
        await service.launch()
        if await service.wait():
            raise ProgramFailed(f"{command} failed:\n{service.log.read_text(errors='replace')}")

    async def _fill(self, corpus: Corpus) -> None:
        environment = self._deployment.service("filling", "up").environment
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.filling", *corpus.arguments()), env=environment
        )
        if await process.wait():
            raise ProgramFailed("the embedded store could not be filled")


class ModMam:
    """mod_mam on PostgreSQL.

    Args:
        directory: Prosody's directory.
    """

    def __init__(self, directory: Path) -> None:
        self._rival = OnPostgres(directory)

    @property
    def prosody(self) -> Prosody:
        """The server that clients talk to."""
        return self._rival.prosody

    async def start(self, users: Sequence[str], corpus: Corpus) -> None:
        """Let mod_mam make its tables, and fill them."""
        await self._rival.prepare(users)
        await asyncio.to_thread(self._rival.fill, corpus.rows())

    def seal(self, owner: str, position: int) -> str:  # noqa: ARG002  # its ids are of the table
        """Return the id of the owner's message at a position."""
        return rival.key(position)

    def cpu(self) -> float:
        """Return the CPU seconds of the database."""
        return usage.tree_cpu(self._rival.pid)

    async def restart(self) -> None:
        """Start Prosody anew."""
        await self.prosody.stop()
        await self.prosody.start()

    async def stop(self) -> None:
        """Stop all."""
        await self._rival.stop()


@dataclass(frozen=True)
class Stand:
    """A contender that runs, with sessions of some users.

    Attributes:
        name: Name in tables.
        contender: The archive.
        sessions: By the user's name.
    """

    name: str
    contender: Contender
    sessions: dict[str, RawSession]


async def open_sessions(prosody: Prosody, users: Iterable[str]) -> dict[str, RawSession]:
    """Log users in, whose passwords are their names."""
    port = prosody.client_port
    sessions = {user: RawSession(user, user, HOST, port, _ANSWER) for user in users}
    for session in sessions.values():
        await session.open()
    return sessions


def contenders(directory: Path, tree: Path | None, name: str) -> dict[str, Contender]:
    """Create the contenders: this tree, optionally a revision, and mod_mam.

    Args:
        directory: Parent of their directories.
        tree: The revision's checkout.
        name: Name of the revision in tables.
    """
    found: dict[str, Contender] = {OURS: Ours(directory / "ours")}
    if tree is not None:
        found[name] = Ours(directory / "revision", tree)
    return {**found, MOD_MAM: ModMam(directory / "mod_mam")}

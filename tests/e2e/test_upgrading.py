"""Deployments of former versions, upgraded and taken back one side at a time, while they serve."""

from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from devstack.client import Client, ReceivedMessage
from devstack.deployment import Deployment
from devstack.prosody import TREE
from stanzalake.config import settings
from stanzalake.store.client import Store
from tests.support.command import Command
from tests.support.processes import Run
from tests.support.releases import check_out, former_revisions, is_shallow
from tests.support.wait import until

COUNT = 5
"""Messages in each direction and each step."""


class Upgraded:
    """A deployment of a former version, whose services and module are replaced in turn.

    Args:
        deployment: The deployment, which runs.
        former: Root of the former version's code.
    """

    def __init__(self, deployment: Deployment, former: Path) -> None:
        self.deployment = deployment
        self._former = former
        self.seen: dict[str, list[ReceivedMessage]] = {"juliet": [], "romeo": []}
        self.said: list[str] = []

    def command(self) -> Command:
        """Return the command line of the present version."""
        command = Command(self.deployment.directory)
        command.settings = dict(self.deployment.settings)
        return command

    async def set_services(self, *, former: bool) -> None:
        """Replace the services, which end on SIGTERM."""
        await self.deployment.stop_service()
        tree = self._former if former else None
        services = self.deployment.services
        services |= {name: replace(service, tree=tree) for name, service in services.items()}
        await self.deployment.start_service()

    async def set_module(self, *, former: bool) -> None:
        """Replace Prosody's module, and restart Prosody."""
        await self.deployment.prosody.stop()
        self.deployment.prosody.tree = self._former if former else TREE
        self.deployment.prosody.write_config()
        await self.deployment.prosody.start()

    async def talk(self, step: str) -> None:
        """Say something in both directions, and compare both archives with all that was said."""
        juliet, romeo = [await self.deployment.client(user, step) for user in self.seen]
        for number in range(COUNT):
            for speaker, listener in ((juliet, romeo), (romeo, juliet)):
                speaker.say(listener.boundjid.bare, f"{step} {number} of {speaker.boundjid.user}")
                await listener.wait_received(number + 1)
        self.said += [m.body for pair in zip(romeo.live, juliet.live, strict=True) for m in pair]
        for client in (juliet, romeo):
            self.seen[client.boundjid.user] += client.live
            await self._compare(client)
            await client.offline()

    async def _compare(self, client: Client) -> None:
        archive = await client.archive(COUNT)
        assert [message.body for message in archive] == self.said
        ids = {message.body: message.id for message in archive}
        live = self.seen[client.boundjid.user]
        assert [message.id for message in live] == [ids[message.body] for message in live]

    async def migrate(self) -> None:
        """Migrate beside the former services: once killed in the middle, then to the end."""
        values = settings.load(self.deployment.settings)
        with closing(Store.for_admin(values)) as store:
            statement = "SELECT count() FROM {migrations:Identifier}"
            before = store.select(statement)
            killed = await self.command().start("migrate")
            await until(lambda: store.select(statement) != before)
            with suppress(ProcessLookupError):  # a fast machine
                killed.kill()
            await killed.communicate()
        await self.talk("killed")
        assert (await self.command().run("migrate", deadline=60))[0] == 0
        _, out, _ = await self.command().run("migrate", "--dry-run")
        assert out == ""


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(is_shallow(), reason="a clone of depth 1 has no former version")
@pytest.mark.parametrize("revision", former_revisions())
async def test_a_former_version_is_upgraded_in_the_documented_order_and_taken_back(
    run: Run, tmp_path: Path, revision: str
) -> None:
    former = await check_out(revision, tmp_path / "former")
    wanted = {"PROSODY_ARCHIVE_POLICY": "true"}
    deployment = await run(Deployment(tmp_path / "serving", settings=wanted, tree=former))
    upgraded = Upgraded(deployment, former)
    await upgraded.talk("former")
    if revision != former_revisions()[0]:
        # Side by side is promised from one version to the next; an older one is left behind.
        await upgraded.set_services(former=False)
        await upgraded.set_module(former=False)
        await upgraded.talk("present")
        return
    await upgraded.migrate()
    await upgraded.talk("migrated")
    await upgraded.set_services(former=False)
    await upgraded.talk("services")
    await upgraded.set_module(former=False)
    await upgraded.talk("module")
    # The other order: the module of the one beside the services of the other.
    await upgraded.set_services(former=True)
    await upgraded.talk("back")
    await upgraded.set_module(former=True)
    await upgraded.talk("all back")
    await upgraded.set_services(former=False)
    await upgraded.talk("again")

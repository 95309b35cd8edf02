"""Disks that are full: nothing crashes, nothing is lost, and it goes on by itself."""

import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from devstack.clickhouse import ClickHouse
from devstack.client import Client
from devstack.deployment import Deployment
from tests.support.wait import until

ALL = {"PROSODY_ARCHIVE_POLICY": "true", "STANZALAKE_FRESHNESS_TIMEOUT": "1"}
COUNT = 30


@asynccontextmanager
async def running(deployment: Deployment) -> AsyncIterator[tuple[Client, Client]]:
    try:
        await deployment.start()
        clients = [await deployment.client(user) for user in ("juliet", "romeo")]
        yield clients[0], clients[1]
        for client in clients:
            await client.offline()
    finally:
        await deployment.stop()


def fill_disk(pid: int) -> None:
    """Let a process write no byte to any file: what a full disk does, without one."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def free_disk(pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def say(sender: Client, receiver: Client, what: str) -> list[str]:
    """Send messages, and return once they were delivered."""
    heard = len(receiver.live) + COUNT
    bodies = [f"{what} {number}" for number in range(COUNT)]
    for body in bodies:
        sender.say(receiver.boundjid.bare, body)
    await receiver.wait_received(heard)
    return bodies


async def archived(reader: Client) -> list[str]:
    return [message.body for message in await reader.archive(250)]


async def all_there(deployment: Deployment, reader: Client, expected: list[str]) -> None:
    """Wait for a stable page, which has all of them, from the process that ran all the time."""
    page = await reader.latest(len(expected))
    while not page.stable:
        page = await reader.latest(len(expected))
    assert [message.body for message in page.messages] == expected
    assert await archived(reader) == expected
    assert all(service.alive for service in deployment.services.values())


async def test_the_disk_of_the_embedded_archive(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, settings=ALL)
    deployment.prosody.extra_host = "stanzalake_freshness_timeout = 1"
    async with running(deployment) as (juliet, romeo):
        sent = await say(juliet, romeo, "before")
        await all_there(deployment, juliet, sent)
        [service] = deployment.services.values()
        fill_disk(service.pid)
        sent += await say(juliet, romeo, "full")
        assert not (await juliet.latest()).stable
        free_disk(service.pid)
        sent += await say(juliet, romeo, "free again")
        await all_there(deployment, juliet, sent)
        await all_there(deployment, romeo, sent)


async def test_the_disk_of_clickhouse(tmp_path: Path) -> None:
    clickhouse = ClickHouse(directory=tmp_path / "clickhouse")
    settings = {**ALL, "STANZALAKE_CLICKHOUSE_DSN": clickhouse.dsn()}
    await clickhouse.start()
    try:
        deployment = Deployment(tmp_path, settings=settings)
        async with running(deployment) as (juliet, romeo):
            sent = await say(juliet, romeo, "before")
            await all_there(deployment, juliet, sent)
            fill_disk(clickhouse.pid)
            sent += await say(juliet, romeo, "full")
            await until(lambda: "waiting: " in deployment.log.read_text())
            free_disk(clickhouse.pid)
            sent += await say(juliet, romeo, "free again")
            await all_there(deployment, juliet, sent)
    finally:
        await clickhouse.stop()


async def test_the_disk_of_the_journal(tmp_path: Path) -> None:
    """What does not fit is delivered without an id, not archived, and said; the rest is."""
    deployment = Deployment(tmp_path, settings=ALL)
    async with running(deployment) as (juliet, romeo):
        segment = deployment.prosody.data_path / "localhost" / "stanzalake" / f"{0:020}.ndjson"
        segment.symlink_to("/dev/full")
        await say(juliet, romeo, "full")
        assert {message.id for message in romeo.live} == {""}
        segment.unlink()
        sent = await say(juliet, romeo, "free again")
        await all_there(deployment, juliet, sent)
        log = deployment.prosody.log_path.read_text()
        assert log.count("No space left on device") == 1
        assert log.count("Messages are archived again") == 1

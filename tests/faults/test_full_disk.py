"""Full disks: no crash, no loss, and recovery without an operator."""

import resource
from pathlib import Path

import pytest

from devstack.clickhouse import ClickHouse
from devstack.client import Client
from devstack.deployment import Deployment
from tests.support.processes import Run
from tests.support.wait import until

ALL = {"PROSODY_ARCHIVE_POLICY": "true", "STANZALAKE_FRESHNESS_TIMEOUT": "1"}
COUNT = 30


async def pair(deployment: Deployment) -> tuple[Client, Client]:
    return await deployment.client("juliet"), await deployment.client("romeo")


def fill_disk(pid: int) -> None:
    """Make every write of a process fail, as on a full disk."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def free_disk(pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def say(sender: Client, receiver: Client, topic: str) -> list[str]:
    """Send messages, and return once they are delivered."""
    heard = len(receiver.live) + COUNT
    bodies = [f"{topic} {number}" for number in range(COUNT)]
    for body in bodies:
        sender.say(receiver.boundjid.bare, body)
    await receiver.wait_received(heard)
    return bodies


async def archived(reader: Client) -> list[str]:
    return [message.body for message in await reader.archive(250)]


async def all_there(deployment: Deployment, reader: Client, expected: list[str]) -> None:
    """Wait for a stable page of all messages, from services that never ended."""
    page = await reader.latest(len(expected))
    while not page.stable:
        page = await reader.latest(len(expected))
    assert [message.body for message in page.messages] == expected
    assert await archived(reader) == expected
    assert all(service.alive for service in deployment.services.values())


async def test_the_embedded_archive_recovers_from_a_full_disk(run: Run, tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, settings=ALL)
    deployment.prosody.extra_host = "stanzalake_freshness_timeout = 1"
    juliet, romeo = await pair(await run(deployment))
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


async def test_the_archive_recovers_from_a_full_disk_of_clickhouse(
    run: Run, tmp_path: Path
) -> None:
    clickhouse = await run(ClickHouse(directory=tmp_path / "clickhouse"))
    settings = {**ALL, "STANZALAKE_CLICKHOUSE_DSN": clickhouse.dsn()}
    deployment = await run(Deployment(tmp_path, settings=settings))
    juliet, romeo = await pair(deployment)
    sent = await say(juliet, romeo, "before")
    await all_there(deployment, juliet, sent)
    fill_disk(clickhouse.pid)
    sent += await say(juliet, romeo, "full")
    await until(lambda: "waiting: " in deployment.log.read_text())
    free_disk(clickhouse.pid)
    sent += await say(juliet, romeo, "free again")
    await all_there(deployment, juliet, sent)


@pytest.mark.slow
async def test_messages_that_do_not_fit_the_journal_are_delivered_without_an_id(
    run: Run, tmp_path: Path
) -> None:
    deployment = await run(Deployment(tmp_path, settings=ALL))
    juliet, romeo = await pair(deployment)
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

"""Crashes of Prosody and of the archive lose and repeat no message."""

import asyncio
from pathlib import Path

import pytest

from devstack.client import Client
from devstack.deployment import Deployment
from tests.support.processes import Run

COUNT = 100


@pytest.fixture
async def deployment(run: Run, tmp_path: Path) -> Deployment:
    return await run(Deployment(tmp_path, settings={"PROSODY_ARCHIVE_POLICY": "true"}))


def bodies(start: int = 0) -> list[str]:
    return [f"message {number}" for number in range(start, start + COUNT)]


async def send(sender: Client, receiver: Client, start: int = 0) -> None:
    expected = len(receiver.live) + COUNT
    for body in bodies(start):
        sender.say(receiver.boundjid.bare, body)
    await receiver.wait_received(expected)


async def check(deployment: Deployment, seen: Client, expected: list[str]) -> None:
    """Both archives hold every message once, in order, under its live id."""
    for user in ("juliet", "romeo"):
        reader = await deployment.client(user, "reader")
        archive = await reader.archive(30)
        assert [message.body for message in archive] == expected
        if user == seen.boundjid.user:
            assert [message.id for message in archive] == [message.id for message in seen.live]
        await reader.offline()


async def test_journalled_events_survive_a_crash_of_prosody(
    deployment: Deployment,
) -> None:
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    await deployment.kill_service()
    await send(juliet, romeo)
    await deployment.prosody.kill()
    await deployment.prosody.start()
    await deployment.start_service()
    await check(deployment, romeo, bodies())


async def test_a_crash_of_the_archive_under_load_loses_and_repeats_nothing(
    deployment: Deployment,
) -> None:
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    for turn in range(3):
        sending = asyncio.ensure_future(send(juliet, romeo, turn * COUNT))
        await romeo.wait_received(turn * COUNT + COUNT // 2)
        await deployment.kill_service()
        await sending
        await deployment.start_service()
    await check(deployment, romeo, bodies() + bodies(COUNT) + bodies(2 * COUNT))


async def test_a_crash_of_prosody_under_load_loses_and_repeats_nothing(
    deployment: Deployment,
) -> None:
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    for body in bodies():
        juliet.say("romeo@localhost", body)
    await romeo.wait_received(COUNT // 2)
    await deployment.prosody.kill()
    await deployment.prosody.start()
    reader = await deployment.client("romeo", "reader")
    archive = await reader.archive(30)
    assert archive[: len(romeo.live)] == romeo.live
    found = [message.body for message in archive]
    assert found == bodies()[: len(found)]


async def test_a_clean_stop_loses_and_repeats_nothing(deployment: Deployment) -> None:
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    sending = asyncio.ensure_future(send(juliet, romeo))
    await romeo.wait_received(COUNT // 2)
    assert await deployment.stop_service() == 0
    await sending
    await deployment.start_service()
    await check(deployment, romeo, bodies())

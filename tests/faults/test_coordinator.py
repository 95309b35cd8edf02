"""The coordinator of the processors' consumer group dies under load, and a broker takes over."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from stanzalake.log.base import PROCESSOR_GROUP
from tests.faults.storm import check_archives
from tests.faults.talk import Talk
from tests.support.brokers import Replicated
from tests.support.processes import Run

pytestmark = pytest.mark.slow

ALL = {"PROSODY_ARCHIVE_POLICY": "true", "PROSODY_ARCHIVE_MAX_QUERY_RESULTS": "1000"}
WITHIN = 40.0


async def new_coordinator(deployment: Replicated, old: int) -> int:
    """Return the number of the next coordinator of the group."""
    new = old
    async with asyncio.timeout(WITHIN):
        while new == old:
            # The remaining brokers learn of it one after the other.
            with contextlib.suppress(KafkaError):
                new = await deployment.coordinator(PROCESSOR_GROUP)
    return new


async def archived(deployment: Replicated) -> None:
    """Wait until every message sent before is archived."""
    reader = await deployment.client("juliet", "watcher")
    async with asyncio.timeout(WITHIN):
        while not (await reader.latest()).stable:
            pass


@pytest.mark.timeout(180)
async def test_processors_continue_with_another_coordinator(run: Run, tmp_path: Path) -> None:
    deployment = Replicated(tmp_path, ALL)
    talks = [Talk("juliet", "romeo"), Talk("romeo", "juliet")]
    stop = asyncio.Event()
    await run(deployment)
    running = [asyncio.ensure_future(talk.run(deployment, stop)) for talk in talks]
    await archived(deployment)
    first = await deployment.coordinator(PROCESSOR_GROUP)
    await deployment.brokers[first].kill()
    second = await new_coordinator(deployment, first)
    await archived(deployment)
    await deployment.brokers[first].stop()
    await deployment.brokers[first].start()
    stop.set()
    await asyncio.gather(*running)
    findings = await check_archives(deployment, talks)
    ended = [name for name, service in deployment.services.items() if not service.alive]
    sent = sum(talk.sent for talk in talks)
    print(f"from broker {first} to {second}, {sent} messages, {findings}")  # noqa: T201  # the takeover that was tested
    assert (findings.problems, ended) == ([], [])
    assert sent > 50

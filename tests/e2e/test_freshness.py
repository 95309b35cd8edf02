"""A page holds what was announced before it, or says that it may not, in time (XEP-0313 §4.3.3)."""

import asyncio
import signal
import time
from pathlib import Path

import pytest
from slixmpp.exceptions import IqError

from devstack.client import Client
from devstack.deployment import HOST, Deployment, Distributed
from devstack.service import Service
from tests.support.processes import Run

DEADLINE = 2.0
A_LITTLE = 2.0
STALLED = {"PROSODY_ARCHIVE_POLICY": "true", "STANZALAKE_FRESHNESS_TIMEOUT": str(DEADLINE)}


async def page_within(client: Client, seconds: float) -> tuple[list[str], bool]:
    """Give the bodies of the last page and whether it is stable."""
    async with asyncio.timeout(seconds):
        page = await client.latest()
    # A client that takes an unstable page for the last one never asks for the rest.
    assert page.stable or not page.complete
    return [message.body for message in page.messages], page.stable


async def stable_page(client: Client) -> list[str]:
    """Give the bodies of the last page once it is stable."""
    page = await client.latest()
    while not page.stable:
        page = await client.latest()
    return [message.body for message in page.messages]


def processors(deployment: Deployment) -> list[Service]:
    return [s for s in deployment.services.values() if s.command == "processor"]


@pytest.mark.slow
async def test_a_stalled_processor_makes_an_unstable_page_in_time(run: Run, tmp_path: Path) -> None:
    deployment = await run(Distributed(tmp_path, settings=STALLED))
    juliet = await deployment.client("juliet")
    juliet.say("romeo@localhost", "before")
    assert await stable_page(juliet) == ["before"]
    for processor in processors(deployment):
        processor.signal(signal.SIGSTOP)
    juliet.say("romeo@localhost", "behind")
    assert await page_within(juliet, DEADLINE + A_LITTLE) == (["before"], False)
    for processor in processors(deployment):
        processor.signal(signal.SIGCONT)
    assert await stable_page(juliet) == ["before", "behind"]


@pytest.mark.slow
async def test_an_idle_owner_does_not_wait_for_the_others_of_the_partition(
    run: Run, tmp_path: Path
) -> None:
    """With the processors frozen a page is stable only if nothing was waited for."""
    deployment = Distributed(tmp_path, settings={**STALLED, "STANZALAKE_KAFKA_PARTITIONS": "1"})
    nobody = f"nobody@{HOST}"
    await run(deployment)
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    romeo.say(nobody, "idle from now on")
    assert await stable_page(romeo) == ["idle from now on"]
    for processor in processors(deployment):
        processor.signal(signal.SIGSTOP)
    for number in range(2):
        juliet.say(nobody, f"{number}")
        assert await page_within(juliet, DEADLINE + A_LITTLE) == ([], False)
        assert await page_within(romeo, DEADLINE + A_LITTLE) == (["idle from now on"], True)
    romeo.say(nobody, "no more")
    assert await page_within(romeo, DEADLINE + A_LITTLE) == (["idle from now on"], False)
    for processor in processors(deployment):
        processor.signal(signal.SIGCONT)
    assert await stable_page(juliet) == ["0", "1"]
    assert await stable_page(romeo) == ["idle from now on", "no more"]


async def test_a_frozen_archive_is_an_error_in_time(run: Run, tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, settings=STALLED)
    deployment.prosody.extra_host = (
        f"stanzalake_freshness_timeout = {DEADLINE}\nstanzalake_query_timeout = {DEADLINE}"
    )
    await run(deployment)
    juliet = await deployment.client("juliet")
    deployment.services["stanzalake"].signal(signal.SIGSTOP)
    juliet.say("romeo@localhost", "behind")
    start = time.monotonic()
    with pytest.raises(IqError) as refused:
        await page_within(juliet, 2 * DEADLINE + A_LITTLE)
    assert time.monotonic() - start >= DEADLINE
    assert refused.value.condition == "remote-server-timeout"
    deployment.services["stanzalake"].signal(signal.SIGCONT)
    assert await page_within(juliet, 2 * DEADLINE + A_LITTLE) == (["behind"], True)

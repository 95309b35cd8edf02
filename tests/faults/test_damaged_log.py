"""A damaged embedded log: reported, given no more events, and recovered as documented."""

import asyncio
from pathlib import Path

import pytest

from devstack.client import Client
from devstack.deployment import Deployment
from stanzalake.log.base import EVENTS, Entry
from stanzalake.log.sqlite import LocalLog
from tests.support.damage import damage
from tests.support.documents import section
from tests.support.events import encoded
from tests.support.processes import Run
from tests.support.wait import until

ALL = {"PROSODY_ARCHIVE_POLICY": "true", "STANZALAKE_FRESHNESS_TIMEOUT": "0.2"}
FILLER = "filler@localhost"
COUNT = 500


async def page(client: Client) -> tuple[list[str], bool]:
    found = await client.latest()
    return [message.body for message in found.messages], found.stable


@pytest.mark.slow
async def test_a_damaged_log_takes_no_events_until_it_is_recovered(
    run: Run, tmp_path: Path
) -> None:
    deployment = await run(Deployment(tmp_path, settings=ALL))
    juliet = await deployment.client("juliet")
    juliet.say("romeo@localhost", "before")
    while await page(juliet) != (["before"], True):
        pass
    await deployment.stop_service()
    file = tmp_path / "archive" / "log.sqlite"
    log = LocalLog(file)
    events = [Entry(FILLER, encoded(n + 1, owner=FILLER)) for n in range(COUNT)]
    await log.append(EVENTS, events)
    await log.close()
    damage(file)

    await deployment.start_service()
    await until(lambda: "DAMAGED" in deployment.log.read_text())
    juliet.say("romeo@localhost", "meanwhile")
    assert await page(juliet) == (["before"], False)
    lines = [line for line in deployment.log.read_text().splitlines() if "DAMAGED" in line]
    assert any("ERROR" in line and "Prosody's journal keeps new events" in line for line in lines)
    assert len(lines) <= 5
    assert all(service.alive for service in deployment.services.values())

    await deployment.stop_service()
    [steps] = section("docs/operating.md", "A damaged embedded log")
    shell = await asyncio.create_subprocess_shell(
        f"set -e\n{steps.text}", cwd=file.parent, stdout=asyncio.subprocess.PIPE
    )
    lost, _ = await shell.communicate()
    assert shell.returncode == 0
    assert 0 < int(lost) < COUNT // 2
    await deployment.start_service()
    while await page(juliet) != (["before", "meanwhile"], True):
        pass

"""An archive is in the order in which Prosody routed the messages, whatever the clock does."""

import time
from itertools import pairwise
from pathlib import Path

import pytest

from devstack.client import Client
from devstack.deployment import Deployment
from stanzalake.model.position import Sealer, to_milliseconds
from tests.support.processes import Run

BURST = 500
HOUR = 3600
A_MOMENT = 60
ROMEO = "romeo@localhost"
[FAKETIME] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")


class Clock:
    """The clock of a process, set from outside.

    Args:
        file: Where libfaketime reads how far it is off.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.environment = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Put it so many seconds ahead of the system's."""
        # In one step: between the truncation and the write it would read nothing.
        scratch = self._file.with_suffix(".new")
        scratch.write_text(f"{seconds:+d}")
        scratch.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
async def deployment(run: Run, tmp_path: Path, clock: Clock) -> Deployment:
    settings = {"PROSODY_ARCHIVE_POLICY": "true", "PROSODY_ARCHIVE_MAX_QUERY_RESULTS": "1000"}
    deployment = Deployment(tmp_path, settings=settings)
    deployment.prosody.environment = clock.environment
    return await run(deployment)


async def burst(deployment: Deployment, name: str) -> list[str]:
    """Send messages in one piece, and return once they were all delivered."""
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    bodies = [f"{name} {number}" for number in range(BURST)]
    to = f"to='{ROMEO}' type='chat'"
    juliet.send_raw("".join(f"<message {to}><body>{body}</body></message>" for body in bodies))
    await romeo.wait_received(BURST)
    assert [message.body for message in romeo.live] == bodies
    for client in (juliet, romeo):
        await client.offline()
    return bodies


async def positions(deployment: Deployment, reader: Client, expected: list[str]) -> list[int]:
    """Check what an archive holds, and give the positions, which increase."""
    archive = await reader.archive(1000)
    assert [message.body for message in archive] == expected
    sealer = Sealer([deployment.settings["STANZALAKE_ID_KEYS"]])
    opened = [sealer.open(reader.boundjid.bare, message.id) for message in archive]
    found = [position for position in opened if position is not None]
    assert len(found) == len(expected)
    assert all(first < second for first, second in pairwise(found))
    return found


async def test_bursts_across_restarts_and_a_clock_that_steps_back(
    deployment: Deployment, clock: Clock
) -> None:
    sent = await burst(deployment, "first")
    await deployment.prosody.kill()
    await deployment.prosody.start()
    sent += await burst(deployment, "after a crash")
    await deployment.prosody.stop()
    await deployment.prosody.start()
    sent += await burst(deployment, "after a clean restart")
    clock.set(-HOUR)
    sent += await burst(deployment, "an hour back")
    await deployment.prosody.stop()
    await deployment.prosody.start()
    sent += await burst(deployment, "an hour back, after a restart")
    clock.set(HOUR)
    ahead = time.time() + HOUR - A_MOMENT
    sent += await burst(deployment, "an hour ahead")
    await deployment.prosody.kill()
    clock.set(0)
    await deployment.prosody.start()
    sent += await burst(deployment, "back again, after a crash")

    for user in ("juliet", "romeo"):
        reader = await deployment.client(user, "reader")
        found = await positions(deployment, reader, sent)
        # What this is about has happened: many in one millisecond, and far more ids than time.
        assert len({to_milliseconds(position) for position in found}) < len(found) // 2
        assert to_milliseconds(found[-1]) > ahead * 1000
        await reader.offline()


async def test_a_clock_that_steps_back_stops_no_event(deployment: Deployment, clock: Clock) -> None:
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    sent: list[str] = []
    for turn in range(10):
        juliet.say(ROMEO, f"turn {turn}")
        await romeo.wait_received(turn + 1)
        clock.set(-turn * HOUR)
        sent.append(f"turn {turn}")
        page = await juliet.latest()
        assert ([message.body for message in page.messages], page.stable) == (sent, True)

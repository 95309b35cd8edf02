"""Memory under a backlog and under a flood."""

import time
from pathlib import Path

import pytest

from devstack.deployment import HOST, Deployment
from stanzalake.config import settings
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, Entry, Log
from stanzalake.model.position import from_milliseconds
from tests.faults.storm import MODES
from tests.support.events import encoded
from tests.support.journals import size
from tests.support.processes import Run
from tests.support.wait import until

pytestmark = pytest.mark.slow

ALL = {"PROSODY_ARCHIVE_POLICY": "true"}
BACKLOG = 100_000
OWNERS = 1000
FLOOD = 3000
TEXT = "a sentence of some length, as people write them " * 40
MIB = 1024
LIMITS = {"embedded": 1024, "kafka": 640}
"""MiB for one process; the embedded one has ClickHouse's engine in it."""


def resident(pid: int, field: str = "VmHWM") -> int:
    """Return a process's peak memory in KiB, or its current memory (VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"{field}:")]
    return int(line.split()[1])


def peak(deployment: Deployment) -> int:
    """Return the peak memory of the largest service in MiB."""
    return max(resident(service.pid) for service in deployment.services.values()) // MIB


async def append_backlog(log: Log) -> None:
    """Append records of more than half a GiB to a log."""
    now = time.time_ns() // 1_000_000
    stanza = f"<message xmlns='jabber:client' type='chat'><body>{TEXT}</body></message>"
    owners = [f"juliet@{HOST}", *(f"user{number}@{HOST}" for number in range(1, OWNERS))]
    for start in range(0, BACKLOG, OWNERS):
        position = from_milliseconds(now - BACKLOG + start)
        entries = [Entry(o, encoded(position, owner=o, stanza=stanza)) for o in owners]
        await log.append(EVENTS, entries)


@pytest.mark.parametrize("mode", MODES)
async def test_a_large_backlog_is_drained_in_bounded_memory(
    run: Run, tmp_path: Path, mode: str
) -> None:
    """One partition gives all of it to one processor."""
    deployment = await run(
        MODES[mode](tmp_path, settings={**ALL, "STANZALAKE_KAFKA_PARTITIONS": "1"})
    )
    await deployment.stop_service()
    async with opening.open_log(settings.load(deployment.settings)) as log:
        await append_backlog(log)
    await deployment.start_service()
    juliet = await deployment.client("juliet", known=False)
    while not (await juliet.latest()).stable:
        pass
    assert len(await juliet.archive(250)) == BACKLOG // OWNERS
    most = peak(deployment)
    print(f"mode {mode}, {BACKLOG} events, at most {most} MiB")  # noqa: T201  # the distance to the limit
    assert most < LIMITS[mode]


@pytest.mark.parametrize("mode", MODES)
async def test_a_flood_without_ingest_is_kept_on_disk(run: Run, tmp_path: Path, mode: str) -> None:
    deployment = await run(MODES[mode](tmp_path, settings=ALL))
    juliet = await deployment.client("juliet")
    await deployment.kill_service()
    before = resident(deployment.prosody.pid)
    message = f"<message to='romeo@{HOST}' type='chat'><body>{TEXT}</body></message>"
    for _ in range(FLOOD // OWNERS):
        juliet.send_raw(message * OWNERS)
    journal = deployment.prosody.data_path / HOST / "stanzalake"
    await until(lambda: size(journal) > 2 * FLOOD * len(TEXT), within=60)
    journalled, grown = size(journal) // 1024, resident(deployment.prosody.pid) - before
    await deployment.start_service()
    while not (await juliet.latest()).stable:
        pass
    most = peak(deployment)
    print(f"a journal of {journalled} KiB, Prosody grew by {grown} KiB")  # noqa: T201  # the distance to the limit
    print(f"mode {mode}, the archive had at most {most} MiB")  # noqa: T201  # the distance to the limit
    kept = await juliet.archive(250)
    assert len(kept) == FLOOD
    assert grown < journalled // 2
    assert most < LIMITS[mode]

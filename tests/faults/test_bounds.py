"""Memory under a backlog and under a flood: bounded by batches, not by what waits."""

import sqlite3
import time
from pathlib import Path

from archive.local_log import LocalLog
from archive.log import EVENTS, Entry
from archive.position import from_milliseconds
from stanzalake.local.deployment import HOST, Deployment
from tests.support.events import encoded
from tests.support.wait import until

ALL = {"PROSODY_ARCHIVE_POLICY": "true"}
BACKLOG = 200_000
OWNERS = 1000
FLOOD = 5000
TEXT = "a sentence of some length, as people write them " * 40
MIB = 1024


def resident(pid: int, what: str = "VmHWM") -> int:
    """Give a process's memory in KiB: the most it had, or with VmRSS what it has now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"{what}:")]
    return int(line.split()[1])


def data_directory(deployment: Deployment) -> Path:
    directory = Path(deployment.settings["STANZALAKE_DATA_DIR"])
    directory.mkdir(mode=0o700)
    return directory


def size(directory: Path) -> int:
    """Give the bytes of a directory's files."""
    return sum(file.stat().st_size for file in directory.iterdir())


def drained(path: Path) -> bool:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        [end] = connection.execute('SELECT max("offset") + 1 FROM records').fetchone()
        commits = connection.execute("SELECT next FROM commits").fetchall()
    return commits == [(end,)]


async def append_backlog(path: Path) -> None:
    """Fill a log with what would be over a GiB if a reader took it at once."""
    log = LocalLog(path)
    now = time.time_ns() // 1_000_000
    stanza = f"<message xmlns='jabber:client' type='chat'><body>{TEXT}</body></message>"
    owners = [f"juliet@{HOST}", *(f"user{number}@{HOST}" for number in range(1, OWNERS))]
    for start in range(0, BACKLOG, OWNERS):
        position = from_milliseconds(now - BACKLOG + start)
        entries = [Entry(o, encoded(position, owner=o, stanza=stanza)) for o in owners]
        await log.append(EVENTS, entries)
    await log.close()


async def test_a_large_backlog_is_drained_in_bounded_memory(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, settings=ALL)
    file = data_directory(deployment) / "log.sqlite"
    await append_backlog(file)
    try:
        await deployment.start()
        [service] = deployment.services.values()
        await until(lambda: drained(file), within=90)
        peak = resident(service.pid)
        print(f"{BACKLOG} events, at most {peak // MIB} MiB")  # noqa: T201  # says how near it is
        juliet = await deployment.client("juliet")
        assert len(await juliet.archive(250)) == BACKLOG // OWNERS
        await juliet.offline()
    finally:
        await deployment.stop()
    assert peak < 1024 * MIB


async def test_a_flood_that_nobody_takes_is_on_disk(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, settings=ALL)
    try:
        await deployment.start()
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
        [service] = deployment.services.values()
        peak = resident(service.pid)
        print(f"a journal of {journalled} KiB, Prosody grew by {grown} KiB")  # noqa: T201
        print(f"the archive had at most {peak // MIB} MiB")  # noqa: T201  # says how near it is
        await juliet.offline()
    finally:
        await deployment.stop()
    assert grown < journalled // 2
    assert peak < 1024 * MIB

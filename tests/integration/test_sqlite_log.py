"""LocalLog's file: trimming, restarts, damage."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stanzalake.errors import LogDamaged
from stanzalake.log import sqlite
from stanzalake.log.base import EVENTS, Entry
from stanzalake.log.sqlite import LocalLog
from stanzalake.log.sqlite_file import PARTITION
from tests.support.damage import damaged_log
from tests.support.documents import section
from tests.support.wait import until

DAY = 86_400
GROUP = "readers"
MIB = 1024 * 1024


class Clock:
    """A clock that is set by hand, in milliseconds."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


def count(path: Path, topic: str = EVENTS) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT count(*) FROM records WHERE topic = ?", [topic])
        return int(found.fetchone()[0])


async def commit_all(log: LocalLog) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    while records := await consumer.read(10_000, 0):
        await consumer.commit({0: records[-1].offset + 1})


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trim and shrink files all the time."""
    monkeypatch.setattr(sqlite, "_UPKEEP_SECONDS", 0.01)


@pytest.mark.usefixtures("often")
async def test_the_trim_keeps_recent_and_uncommitted_records(tmp_path: Path) -> None:
    clock = Clock()
    log = LocalLog(tmp_path / "log", retention=DAY, clock=clock)
    await log.append(EVENTS, [Entry("a@b", b"1")])
    await commit_all(log)
    clock.now += 2 * DAY * 1000
    await log.append(EVENTS, [Entry("a@b", b"2")])
    await until(lambda: count(tmp_path / "log") == 1)
    await commit_all(log)
    await log.append(EVENTS, [Entry("a@b", b"3")])
    other = await log.consumer(EVENTS, "other")
    await other.commit({0: 1})
    # It is trimmed after the events: once it is gone, they had their turn.
    ends = await log.append("zz", [Entry("a@b", b"last")])
    await (await log.consumer("zz", GROUP)).commit(ends)
    clock.now += 2 * DAY * 1000
    await until(lambda: count(tmp_path / "log", "zz") == 0)
    assert count(tmp_path / "log") == 2
    await other.commit({0: 3})
    await until(lambda: count(tmp_path / "log") == 1)
    assert [record.value async for record in log.scan(EVENTS)] == [b"3"]
    await log.close()


@pytest.mark.usefixtures("often")
async def test_offsets_of_trimmed_records_are_not_reused(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(3):
        log = LocalLog(tmp_path / "log", retention=1, clock=clock)
        await log.append(EVENTS, [Entry("a@b", b"x")])
        clock.now += DAY * 1000
        consumer = await log.consumer(EVENTS, GROUP)
        [record] = await consumer.read(100, 0)
        await consumer.commit({0: record.offset + 1})
        await until(lambda: count(tmp_path / "log") == 0)
        await log.close()
    assert record.offset == 3


async def test_a_file_that_is_no_database_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"not a database" * 100)
    with pytest.raises(LogDamaged, match="cannot be opened"):
        LocalLog(tmp_path / "log")


async def test_wait_committed_waits_for_the_keys_own_records(tmp_path: Path) -> None:
    log = LocalLog(tmp_path / "log")
    await log.append(EVENTS, [Entry("busy@b", b"1")])
    assert await log.wait_committed(EVENTS, GROUP, "idle@b", 0)
    assert not await log.wait_committed(EVENTS, GROUP, "busy@b", 0)
    await log.close()


async def test_after_a_restart_every_key_waits_for_the_whole_topic(tmp_path: Path) -> None:
    log = LocalLog(tmp_path / "log")
    await log.append(EVENTS, [Entry("busy@b", b"1")])
    await log.close()
    log = LocalLog(tmp_path / "log")
    assert not await log.wait_committed(EVENTS, GROUP, "busy@b", 0)
    assert not await log.wait_committed(EVENTS, GROUP, "idle@b", 0)
    await commit_all(log)
    assert await log.wait_committed(EVENTS, GROUP, "busy@b", 0)
    await log.close()


async def test_evicted_keys_wait_for_the_whole_topic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_MAX_KEYS", len("a@bb@b"))
    log = LocalLog(tmp_path / "log")
    await log.append(EVENTS, [Entry(f"{name}@b", b"1") for name in "abc"])
    for name in "abcd":
        assert not await log.wait_committed(EVENTS, GROUP, f"{name}@b", 0)
    await log.close()


@pytest.mark.usefixtures("often")
async def test_an_idle_log_trims_in_pieces_between_which_others_work(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "log"
    log = LocalLog(path, retention=DAY, clock=clock)
    for _ in range(20):
        await log.append(EVENTS, [Entry("a@b", b"x" * 100)] * 1000)
    await commit_all(log)
    clock.now += 2 * DAY * 1000
    await until(lambda: count(path) < 20_000)
    await log.append(EVENTS, [Entry("a@b", b"y")])
    assert count(path) > 1
    await until(lambda: count(path) == 1)
    await log.close()


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("earlier", [False, True])
async def test_the_file_shrinks_after_an_outage(tmp_path: Path, *, earlier: bool) -> None:
    """Also a file of an earlier version, which was made without auto_vacuum."""
    clock, path = Clock(), tmp_path / "log"
    if earlier:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE made (without INTEGER)")
    log = LocalLog(path, retention=DAY, clock=clock)
    for _ in range(100):
        await log.append(EVENTS, [Entry("a@b", bytes(512 * 1024))])
    assert path.stat().st_size > 40 * MIB
    await commit_all(log)
    clock.now += 2 * DAY * 1000
    await until(lambda: path.stat().st_size < 18 * MIB)
    await until(lambda: wal_of(path).stat().st_size == 0)
    await log.close()


def wal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


@pytest.mark.usefixtures("often")
async def test_trimmed_bodies_are_in_no_file(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "log"
    log = LocalLog(path, retention=DAY, clock=clock)
    for number in range(500):
        await log.append(EVENTS, [Entry("a@b", b"the secret body %d" % number)])
    assert b"secret" in path.read_bytes() + wal_of(path).read_bytes()
    await commit_all(log)
    clock.now += 2 * DAY * 1000
    await log.append(EVENTS, [Entry("a@b", b"later")])
    await until(lambda: b"secret" not in path.read_bytes() + wal_of(path).read_bytes())
    assert b"later" in path.read_bytes() + wal_of(path).read_bytes()
    await log.close()


async def test_a_damaged_file_takes_no_events_and_says_why_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    await damaged_log(path, GROUP)
    log = LocalLog(path)
    consumer = await log.consumer(EVENTS, GROUP)
    await consumer.read(100, 0)
    with pytest.raises(LogDamaged, match="DAMAGED"):
        await consumer.read(10_000, 0)
    with pytest.raises(LogDamaged):
        await log.append(EVENTS, [Entry("a@b", b"x")])
    with pytest.raises(LogDamaged):
        await log.wait_committed(EVENTS, GROUP, "a@b", 10)
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert "docs/operating.md" in record.getMessage()
    await log.close()


async def test_a_damaged_file_is_recovered_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    await damaged_log(path, GROUP)
    [steps] = section("docs/operating.md", "A damaged embedded log")
    shell = await asyncio.create_subprocess_shell(
        f"set -e\n{steps.text}", cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await shell.communicate()
    assert shell.returncode == 0
    log = LocalLog(path)
    consumer = await log.consumer(EVENTS, GROUP)
    found: list[int] = []
    while records := await consumer.read(1000, 0):
        found += [record.offset for record in records]
    assert found[0] == 101
    assert found[-1] == 2000
    assert int(output) == 1900 - len(found) > 0
    assert await log.append(EVENTS, [Entry("a@b", b"x")]) == {0: 2002}
    await log.close()


async def test_a_wait_for_a_commit_ends_the_consumers_read_and_is_told_to_it(
    tmp_path: Path,
) -> None:
    log = LocalLog(tmp_path / "log.sqlite")
    await log.append(EVENTS, [Entry("a@b", b"1")])
    consumer = await log.consumer(EVENTS, GROUP)
    assert len(await consumer.read(10, 10)) == 1
    assert consumer.awaited() == {PARTITION: 0}
    reading = asyncio.ensure_future(consumer.read(10, 600))
    waiting = asyncio.ensure_future(log.wait_committed(EVENTS, GROUP, "a@b", 10))
    async with asyncio.timeout(10):
        assert await reading == []
    assert consumer.awaited() == {PARTITION: log.end(EVENTS)}
    await consumer.commit({PARTITION: log.end(EVENTS)})
    assert await waiting
    assert consumer.awaited() == {PARTITION: 0}
    await log.close()

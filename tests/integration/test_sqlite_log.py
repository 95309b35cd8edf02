"""LocalLog's file: trimming, restarts, damage."""

import sqlite3
from pathlib import Path

import pytest

from stanzalake.errors import LogUnavailable
from stanzalake.log import sqlite
from stanzalake.log.base import EVENTS, Entry
from stanzalake.log.sqlite import LocalLog

DAY = 86_400
GROUP = "readers"


class Clock:
    """A clock that is set by hand, in milliseconds."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


def count(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("SELECT count(*) FROM records").fetchone()[0])


async def commit_all(log: LocalLog) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    records = await consumer.read(100, 0)
    await consumer.commit({record.partition: record.offset + 1 for record in records})


async def test_the_trim_keeps_recent_and_uncommitted_records(tmp_path: Path) -> None:
    clock = Clock()
    log = LocalLog(tmp_path / "log", retention=DAY, clock=clock)
    await log.append(EVENTS, [Entry("a@b", b"1")])
    await commit_all(log)
    clock.now += 2 * DAY * 1000
    await log.append(EVENTS, [Entry("a@b", b"2")])
    await commit_all(log)
    assert count(tmp_path / "log") == 1
    await log.append(EVENTS, [Entry("a@b", b"3")])
    clock.now += 2 * DAY * 1000
    other = await log.consumer(EVENTS, "other")
    await other.commit({0: 1})
    assert count(tmp_path / "log") == 2
    await log.close()


async def test_offsets_of_trimmed_records_are_not_reused(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(3):
        log = LocalLog(tmp_path / "log", retention=1, clock=clock)
        await log.append(EVENTS, [Entry("a@b", b"x")])
        clock.now += DAY * 1000
        consumer = await log.consumer(EVENTS, GROUP)
        [record] = await consumer.read(100, 0)
        await consumer.commit({0: record.offset + 1})
        await log.close()
    assert record.offset == 3


async def test_a_file_that_is_no_database_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"not a database" * 100)
    with pytest.raises(LogUnavailable, match="cannot be opened"):
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
    monkeypatch.setattr(sqlite, "_MAX_KEYS", 2)
    log = LocalLog(tmp_path / "log")
    await log.append(EVENTS, [Entry(f"{name}@b", b"1") for name in "abc"])
    for name in "abcd":
        assert not await log.wait_committed(EVENTS, GROUP, f"{name}@b", 0)
    await log.close()

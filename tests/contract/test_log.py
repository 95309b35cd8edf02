"""The contract of a log, for SQLite and Kafka."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from stanzalake.log.base import EVENTS, READ_BYTES, REJECTED, Consumer, Entry, Log, Record
from stanzalake.log.sqlite import LocalLog
from tests.support.kafka_log import open_kafka, unique_prefix

GROUP = "readers"
OWNER = "juliet@capulet.lit"
SOON = 10.0

OpenLog = Callable[[], AbstractAsyncContextManager[Log]]


@pytest.fixture(params=["local", "kafka"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> OpenLog:
    """Return a function that opens the log under test; each call opens the same log."""
    if request.param == "kafka":
        kafka = request.getfixturevalue("kafka")
        prefix = unique_prefix()

    @asynccontextmanager
    async def open_log() -> AsyncIterator[Log]:
        log: Log
        if request.param == "kafka":
            log = await open_kafka(kafka, prefix)
        else:
            log = LocalLog(tmp_path / "log.sqlite")
        try:
            yield log
        finally:
            await log.close()

    return open_log


@pytest.fixture
async def log(reopen: OpenLog) -> AsyncIterator[Log]:
    async with reopen() as one:
        yield one


def entries(*values: bytes, key: str = OWNER) -> list[Entry]:
    return [Entry(key, value) for value in values]


async def read(consumer: Consumer, count: int) -> list[Record]:
    """Read so many records, or fail in the end."""
    records: list[Record] = []
    async with asyncio.timeout(SOON):
        while len(records) < count:
            records += await consumer.read(count - len(records), SOON)
    return records


def next_offsets(records: Sequence[Record]) -> dict[int, int]:
    return {record.partition: record.offset + 1 for record in records}


async def test_records_are_read_in_the_order_of_their_appends(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    await log.append(EVENTS, entries(b"1", b"2"))
    await log.append(EVENTS, entries(b"3"))
    records = await read(consumer, 3)
    assert [record.value for record in records] == [b"1", b"2", b"3"]
    assert {record.key for record in records} == {OWNER}
    assert records[0].offset < records[1].offset < records[2].offset


async def test_headers_and_arbitrary_bytes_round_trip(log: Log) -> None:
    headers = (("reason", "schlecht ☹"), ("source", ""))
    await log.append(REJECTED, [Entry("", bytes(range(256)), headers)])
    [record] = await read(await log.consumer(REJECTED, GROUP), 1)
    assert (record.key, record.value, record.headers) == ("", bytes(range(256)), headers)


async def test_a_consumer_reads_its_topic_only(log: Log) -> None:
    await log.append(REJECTED, entries(b"rejected"))
    await log.append(EVENTS, entries(b"event"))
    [record] = await read(await log.consumer(EVENTS, GROUP), 1)
    assert record.value == b"event"


async def test_an_append_without_entries_writes_nothing(log: Log) -> None:
    await log.append(EVENTS, [])
    assert await (await log.consumer(EVENTS, GROUP)).read(1, 0) == []


async def test_a_read_respects_its_limit(log: Log) -> None:
    await log.append(EVENTS, entries(*(b"%d" % n for n in range(10))))
    consumer = await log.consumer(EVENTS, GROUP)
    assert len(await consumer.read(4, SOON)) <= 4
    assert len(await read(consumer, 6)) <= 6


async def test_a_read_is_bounded_in_bytes(log: Log) -> None:
    large = bytes(READ_BYTES // 16)
    for _ in range(20):
        await log.append(EVENTS, entries(large))
    consumer = await log.consumer(EVENTS, GROUP)
    first = await consumer.read(100, SOON)
    assert sum(len(record.value) for record in first) <= READ_BYTES + len(large)
    assert len(first) + len(await read(consumer, 20 - len(first))) == 20


async def test_a_read_waits_for_the_first_record(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    reading = asyncio.ensure_future(read(consumer, 1))
    await log.append(EVENTS, entries(b"late"))
    assert [record.value for record in await reading] == [b"late"]


async def test_a_read_without_records_times_out(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    assert list(await consumer.read(10, 0.01)) == []


async def test_a_group_resumes_at_its_commit(
    reopen: OpenLog,
) -> None:
    async with reopen() as log:
        await log.append(EVENTS, entries(b"1", b"2", b"3"))
        consumer = await log.consumer(EVENTS, GROUP)
        await consumer.commit(next_offsets((await read(consumer, 3))[:1]))
        await consumer.close()
    async with reopen() as log:
        consumer = await log.consumer(EVENTS, GROUP)
        assert [record.value for record in await read(consumer, 2)] == [b"2", b"3"]
        await consumer.close()


async def test_groups_have_offsets_of_their_own(log: Log) -> None:
    await log.append(EVENTS, entries(b"1"))
    first = await log.consumer(EVENTS, "first")
    await first.commit(next_offsets(await read(first, 1)))
    second = await log.consumer(EVENTS, "second")
    assert [record.value for record in await read(second, 1)] == [b"1"]


@pytest.mark.requirement("313-22")
async def test_wait_committed_waits_for_earlier_appends(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    await log.append(EVENTS, entries(b"1", b"2"))
    records = await read(consumer, 2)
    assert not await log.wait_committed(EVENTS, GROUP, OWNER, 0.01)
    await consumer.commit(next_offsets(records[:1]))
    waiting = asyncio.ensure_future(log.wait_committed(EVENTS, GROUP, OWNER, SOON))
    await asyncio.sleep(0)
    assert not waiting.done()
    await consumer.commit(next_offsets(records))
    assert await waiting


async def test_wait_committed_ignores_later_appends(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    await log.append(EVENTS, entries(b"earlier"))
    waiting = asyncio.ensure_future(log.wait_committed(EVENTS, GROUP, OWNER, SOON))
    while not waiting.done():
        # The group is always a record behind: a wait for the newest one would not end.
        behind = next_offsets(await read(consumer, 1))
        await log.append(EVENTS, entries(b"later"))
        await consumer.commit(behind)
    assert await waiting


async def test_wait_committed_returns_at_once_without_lag(log: Log) -> None:
    assert await log.wait_committed(EVENTS, GROUP, OWNER, SOON)
    consumer = await log.consumer(EVENTS, GROUP)
    await log.append(EVENTS, entries(b"1"))
    await consumer.commit(next_offsets(await read(consumer, 1)))
    assert await log.wait_committed(EVENTS, GROUP, OWNER, 0)


async def test_append_returns_watermarks(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    for values in ((b"1",), (b"2", b"3")):
        ends = await log.append(EVENTS, entries(*values))
        assert ends == next_offsets(await read(consumer, len(values)))
    assert await log.append(EVENTS, []) == {}


async def test_append_returns_watermarks_of_every_partition(log: Log) -> None:
    several = [Entry(f"{n}@b", b"%d" % n) for n in range(40)]
    ends = await log.append(EVENTS, several)
    records = await read(await log.consumer(EVENTS, GROUP), len(several))
    assert ends == next_offsets(sorted(records, key=lambda record: record.offset))


async def test_wait_committed_stops_at_the_given_watermarks(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    ends = await log.append(EVENTS, entries(b"1"))
    await log.append(EVENTS, entries(b"2"))
    assert not await log.wait_committed(EVENTS, GROUP, OWNER, 0, ends)
    await consumer.commit(next_offsets((await read(consumer, 2))[:1]))
    assert await log.wait_committed(EVENTS, GROUP, OWNER, 0, ends)
    assert not await log.wait_committed(EVENTS, GROUP, OWNER, 0)


async def test_wait_committed_ignores_watermarks_beyond_the_end(log: Log) -> None:
    """A re-created topic ends before the watermarks of the old one."""
    consumer = await log.consumer(EVENTS, GROUP)
    ends = {p: end + 1000 for p, end in (await log.append(EVENTS, entries(b"1"))).items()}
    assert not await log.wait_committed(EVENTS, GROUP, OWNER, 0, ends)
    await consumer.commit(next_offsets(await read(consumer, 1)))
    assert await log.wait_committed(EVENTS, GROUP, OWNER, 0, ends)


async def test_wait_committed_waits_for_the_end_of_a_partition_without_watermark(log: Log) -> None:
    ends = await log.append(EVENTS, entries(b"1"))
    others = {p + 1: 0 for p in ends}
    assert not await log.wait_committed(EVENTS, GROUP, OWNER, 0, others)


async def scan_all(log: Log, topic: str) -> list[Record]:
    async with asyncio.timeout(SOON):
        return [record async for record in log.scan(topic)]


async def test_scan_returns_all_records_and_ends(log: Log) -> None:
    assert await scan_all(log, REJECTED) == []
    await log.append(EVENTS, entries(b"event"))
    for n in range(20):
        await log.append(REJECTED, [Entry(f"{n}@b", b"%d" % n, (("reason", "bad"),))])
    found = await scan_all(log, REJECTED)
    assert sorted(int(record.value) for record in found) == list(range(20))
    assert len({(record.partition, record.offset) for record in found}) == 20
    assert {record.headers for record in found} == {(("reason", "bad"),)}
    assert all(abs(record.at / 1000 - time.time()) < 60 for record in found)


async def test_scan_commits_nothing(log: Log) -> None:
    await log.append(REJECTED, entries(b"1", b"2"))
    consumer = await log.consumer(REJECTED, GROUP)
    await consumer.commit(next_offsets((await read(consumer, 2))[:1]))
    for _ in range(2):
        assert [record.value for record in await scan_all(log, REJECTED)] == [b"1", b"2"]
    await consumer.commit(next_offsets([]))
    assert not await log.wait_committed(REJECTED, GROUP, OWNER, 0)


async def test_scan_ends_where_the_topic_ended_at_its_start(log: Log) -> None:
    await log.append(REJECTED, entries(b"1", b"2"))
    found = []
    async with asyncio.timeout(SOON):
        async for record in log.scan(REJECTED):
            found.append(record.value)
            await log.append(REJECTED, entries(b"later"))
    assert found == [b"1", b"2"]


async def test_scan_reads_large_records(log: Log) -> None:
    for _ in range(4):
        await log.append(REJECTED, entries(bytes(READ_BYTES // 2)))
    assert len(await scan_all(log, REJECTED)) == 4


async def test_concurrent_appends_lose_nothing(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    writes: list[Awaitable[object]] = [
        log.append(EVENTS, entries(*(b"%d.%d" % (k, n) for n in range(20)), key=f"{k}@b"))
        for k in range(10)
    ]
    await asyncio.gather(*writes)
    records = await read(consumer, 200)
    for k in range(10):
        mine = [record.value for record in records if record.key == f"{k}@b"]
        assert mine == [b"%d.%d" % (k, n) for n in range(20)]

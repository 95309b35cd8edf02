"""What every log does, whatever stands behind it."""

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

Opened = Callable[[], AbstractAsyncContextManager[Log]]


@pytest.fixture(params=["local", "kafka"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Open the log under test; opening it again finds what was there before."""
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
async def log(opened: Opened) -> AsyncIterator[Log]:
    async with opened() as one:
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


def following(records: Sequence[Record]) -> dict[int, int]:
    return {record.partition: record.offset + 1 for record in records}


async def test_what_is_appended_is_read_in_order(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    await log.append(EVENTS, entries(b"1", b"2"))
    await log.append(EVENTS, entries(b"3"))
    records = await read(consumer, 3)
    assert [record.value for record in records] == [b"1", b"2", b"3"]
    assert {record.key for record in records} == {OWNER}
    assert records[0].offset < records[1].offset < records[2].offset


async def test_headers_and_any_bytes_come_back(log: Log) -> None:
    headers = (("reason", "schlecht ☹"), ("source", ""))
    await log.append(REJECTED, [Entry("", bytes(range(256)), headers)])
    [record] = await read(await log.consumer(REJECTED, GROUP), 1)
    assert (record.key, record.value, record.headers) == ("", bytes(range(256)), headers)


async def test_topics_are_apart(log: Log) -> None:
    await log.append(REJECTED, entries(b"rejected"))
    await log.append(EVENTS, entries(b"event"))
    [record] = await read(await log.consumer(EVENTS, GROUP), 1)
    assert record.value == b"event"


async def test_appending_nothing_is_nothing(log: Log) -> None:
    await log.append(EVENTS, [])
    assert await (await log.consumer(EVENTS, GROUP)).read(1, 0) == []


async def test_a_read_takes_no_more_than_its_limit(log: Log) -> None:
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


async def test_a_read_of_nothing_ends(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    assert list(await consumer.read(10, 0.01)) == []


async def test_a_group_goes_on_from_its_commit(
    opened: Opened,
) -> None:
    async with opened() as log:
        await log.append(EVENTS, entries(b"1", b"2", b"3"))
        consumer = await log.consumer(EVENTS, GROUP)
        await consumer.commit(following((await read(consumer, 3))[:1]))
        await consumer.close()
    async with opened() as log:
        consumer = await log.consumer(EVENTS, GROUP)
        assert [record.value for record in await read(consumer, 2)] == [b"2", b"3"]
        await consumer.close()


async def test_groups_are_apart(log: Log) -> None:
    await log.append(EVENTS, entries(b"1"))
    first = await log.consumer(EVENTS, "first")
    await first.commit(following(await read(first, 1)))
    second = await log.consumer(EVENTS, "second")
    assert [record.value for record in await read(second, 1)] == [b"1"]


@pytest.mark.requirement("313-22")
async def test_settled_waits_for_the_commit_of_what_was_appended(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    await log.append(EVENTS, entries(b"1", b"2"))
    records = await read(consumer, 2)
    assert not await log.wait_committed(EVENTS, GROUP, OWNER, 0.01)
    await consumer.commit(following(records[:1]))
    waiting = asyncio.ensure_future(log.wait_committed(EVENTS, GROUP, OWNER, SOON))
    await asyncio.sleep(0)
    assert not waiting.done()
    await consumer.commit(following(records))
    assert await waiting


async def test_settled_does_not_wait_for_what_comes_later(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    await log.append(EVENTS, entries(b"1"))
    records = await read(consumer, 1)
    assert not await log.wait_committed(EVENTS, GROUP, OWNER, 0)
    waiting = asyncio.ensure_future(log.wait_committed(EVENTS, GROUP, OWNER, SOON))
    await asyncio.sleep(0)
    await log.append(EVENTS, entries(b"2"))
    await consumer.commit(following(records))
    assert await waiting


async def test_settled_is_at_once_when_all_is_committed(log: Log) -> None:
    assert await log.wait_committed(EVENTS, GROUP, OWNER, SOON)
    consumer = await log.consumer(EVENTS, GROUP)
    await log.append(EVENTS, entries(b"1"))
    await consumer.commit(following(await read(consumer, 1)))
    assert await log.wait_committed(EVENTS, GROUP, OWNER, 0)


async def test_appending_tells_where_it_ended(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    for values in ((b"1",), (b"2", b"3")):
        ends = await log.append(EVENTS, entries(*values))
        assert ends == following(await read(consumer, len(values)))
    assert await log.append(EVENTS, []) == {}


async def test_appending_to_several_keys_tells_where_each_partition_ended(log: Log) -> None:
    several = [Entry(f"{n}@b", b"%d" % n) for n in range(40)]
    ends = await log.append(EVENTS, several)
    records = await read(await log.consumer(EVENTS, GROUP), len(several))
    assert ends == following(sorted(records, key=lambda record: record.offset))


async def test_settled_waits_only_up_to_where_it_is_told(log: Log) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    ends = await log.append(EVENTS, entries(b"1"))
    await log.append(EVENTS, entries(b"2"))
    assert not await log.wait_committed(EVENTS, GROUP, OWNER, 0, ends)
    await consumer.commit(following((await read(consumer, 2))[:1]))
    assert await log.wait_committed(EVENTS, GROUP, OWNER, 0, ends)
    assert not await log.wait_committed(EVENTS, GROUP, OWNER, 0)


async def test_settled_does_not_wait_for_what_is_not_there(log: Log) -> None:
    """As after a topic was made anew: what somebody remembers of the old one is far behind it."""
    consumer = await log.consumer(EVENTS, GROUP)
    ends = {p: end + 1000 for p, end in (await log.append(EVENTS, entries(b"1"))).items()}
    assert not await log.wait_committed(EVENTS, GROUP, OWNER, 0, ends)
    await consumer.commit(following(await read(consumer, 1)))
    assert await log.wait_committed(EVENTS, GROUP, OWNER, 0, ends)


async def test_settled_waits_for_all_of_a_partition_of_which_nothing_is_told(log: Log) -> None:
    ends = await log.append(EVENTS, entries(b"1"))
    others = {p + 1: 0 for p in ends}
    assert not await log.wait_committed(EVENTS, GROUP, OWNER, 0, others)


async def browsed(log: Log, topic: str) -> list[Record]:
    async with asyncio.timeout(SOON):
        return [record async for record in log.scan(topic)]


async def test_browsing_gives_all_there_is_and_ends(log: Log) -> None:
    assert await browsed(log, REJECTED) == []
    await log.append(EVENTS, entries(b"event"))
    for n in range(20):
        await log.append(REJECTED, [Entry(f"{n}@b", b"%d" % n, (("reason", "bad"),))])
    found = await browsed(log, REJECTED)
    assert sorted(int(record.value) for record in found) == list(range(20))
    assert len({(record.partition, record.offset) for record in found}) == 20
    assert {record.headers for record in found} == {(("reason", "bad"),)}
    assert all(abs(record.at / 1000 - time.time()) < 60 for record in found)


async def test_browsing_takes_nothing_from_anybody(log: Log) -> None:
    await log.append(REJECTED, entries(b"1", b"2"))
    consumer = await log.consumer(REJECTED, GROUP)
    await consumer.commit(following((await read(consumer, 2))[:1]))
    for _ in range(2):
        assert [record.value for record in await browsed(log, REJECTED)] == [b"1", b"2"]
    await consumer.commit(following([]))
    assert not await log.wait_committed(REJECTED, GROUP, OWNER, 0)


async def test_browsing_ends_where_the_topic_ended_when_it_began(log: Log) -> None:
    await log.append(REJECTED, entries(b"1", b"2"))
    found = []
    async with asyncio.timeout(SOON):
        async for record in log.scan(REJECTED):
            found.append(record.value)
            await log.append(REJECTED, entries(b"later"))
    assert found == [b"1", b"2"]


async def test_large_records_are_browsed(log: Log) -> None:
    for _ in range(4):
        await log.append(REJECTED, entries(bytes(READ_BYTES // 2)))
    assert len(await browsed(log, REJECTED)) == 4


async def test_many_writers_lose_nothing(log: Log) -> None:
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

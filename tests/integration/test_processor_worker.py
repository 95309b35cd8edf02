"""`stanzalake processor`: workers share the log, join, leave and die."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from devstack import service
from devstack.clickhouse import ClickHouse
from devstack.kafka import Kafka
from devstack.service import Service
from stanzalake.config import settings
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP, REJECTED, Entry
from stanzalake.log.kafka.log import KafkaLog
from stanzalake.operations.archive import migrate
from stanzalake.store.client import Store
from tests.support.events import encoded
from tests.support.kafka_log import open_kafka, unique_prefix
from tests.support.processes import Run
from tests.support.settings import REQUIRED
from tests.support.wait import until

OWNERS = [f"owner-{n}@capulet.lit" for n in range(40)]
SOON = 60.0
QUICK = 6.0
"""Seconds in which a worker has ended after SIGTERM, whatever it was doing."""

Start = Callable[..., Service]


@pytest.fixture
async def clickhouse(run: Run, tmp_path: Path) -> ClickHouse:
    """Give a ClickHouse of the test's own, that it may end."""
    return await run(ClickHouse(directory=tmp_path / "clickhouse"))


@pytest.fixture
def environment(kafka: Kafka, clickhouse: ClickHouse) -> dict[str, str]:
    """Give the settings of a worker, whose store's schema is there."""
    environment = {
        **REQUIRED,
        "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS": kafka.address,
        "STANZALAKE_KAFKA_REPLICATION": "1",
        "STANZALAKE_KAFKA_PARTITIONS": "4",
        "STANZALAKE_KAFKA_TOPIC_PREFIX": unique_prefix(),
        "STANZALAKE_LOG_RETENTION": "never",
        "STANZALAKE_CLICKHOUSE_DSN": clickhouse.dsn(),
        "PROSODY_ARCHIVE_EXPIRES_AFTER": "never",
    }
    migrate(settings.load(environment))
    return environment


@pytest.fixture
async def start(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Start]:
    """Give a function that gives a worker, to be started; it takes more settings."""
    workers: list[Service] = []

    def worker(**more: str) -> Service:
        one = Service(
            command="processor",
            environment=service.environment({**environment, **more}),
            log=tmp_path / f"worker-{len(workers)}.log",
        )
        workers.append(one)
        return one

    yield worker
    await asyncio.gather(*(one.kill() for one in workers))


@pytest.fixture
async def log(kafka: Kafka, environment: dict[str, str]) -> AsyncIterator[KafkaLog]:
    log = await open_kafka(kafka, environment["STANZALAKE_KAFKA_TOPIC_PREFIX"])
    yield log
    await log.close()


class Writer:
    """Appends events of every owner, round after round."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self.written: set[tuple[str, int]] = set()

    async def write(self, rounds: int = 1) -> None:
        """Append so many events of each owner."""
        for _ in range(rounds):
            position = len(self.written) + 1
            await self._log.append(EVENTS, [Entry(o, encoded(position, owner=o)) for o in OWNERS])
            self.written |= {(owner, position) for owner in OWNERS}

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Go on appending while the context is open."""
        done = asyncio.Event()

        async def write() -> None:
            while not done.is_set():
                await self.write()

        task = asyncio.ensure_future(write())
        yield
        done.set()
        await task


async def wait_committed(log: KafkaLog, owners: Iterable[str] = OWNERS) -> bool:
    answers = [log.wait_committed(EVENTS, PROCESSOR_GROUP, owner, SOON) for owner in owners]
    return all(await asyncio.gather(*answers))


def stored(clickhouse: ClickHouse) -> list[tuple[str, int]]:
    """Give what is read of the archive: identities, as often as they are seen."""
    with ExitStack() as stack:
        store = Store(clickhouse.dsn(), "messages")
        stack.callback(store.close)
        return [(o, p) for o, p in store.select("SELECT owner, position FROM messages FINAL")]


@pytest.mark.slow
async def test_no_event_is_lost_or_doubled_when_workers_join_leave_and_die(
    start: Start, log: KafkaLog, clickhouse: ClickHouse
) -> None:
    first, second, third = start(), start(), start()
    await first.start()
    writer = Writer(log)
    async with writer.writing():
        await second.start()
        await third.start()
        assert await second.stop() == 0
        await third.kill()
    assert await wait_committed(log)
    assert sorted(stored(clickhouse)) == sorted(writer.written)
    assert await first.stop() == 0
    assert "Traceback" not in first.log.read_text() + second.log.read_text()


def share(worker: Service) -> frozenset[str]:
    """Give the partitions that a worker has said last to read."""
    said = [line for line in worker.log.read_text().splitlines() if "reading partitions" in line]
    return frozenset(said[-1].rpartition(": ")[2].split(", ")) if said else frozenset()


async def test_workers_share_the_partitions(start: Start) -> None:
    workers = start(), start()
    await asyncio.gather(*(one.start() for one in workers))

    def shares() -> set[frozenset[str]]:
        return {share(one) for one in workers}

    await until(lambda: {len(share) for share in shares()} == {2} and len(shares()) == 2)
    assert frozenset.union(*shares()) == {"0", "1", "2", "3"}


async def test_workers_together_make_no_more_parts_than_one(
    start: Start, log: KafkaLog, clickhouse: ClickHouse
) -> None:
    """A slow machine makes fewer parts, never more."""
    seconds, number, window = 0.6, 4, 9.0
    workers = [start(STANZALAKE_BATCH_SECONDS=str(seconds)) for _ in range(number)]
    await asyncio.gather(*(one.start() for one in workers))
    await until(lambda: all(len(share(one)) == 1 for one in workers), SOON)
    writer, begin = Writer(log), time.monotonic()
    while time.monotonic() - begin < window:
        await writer.write()
        await asyncio.sleep(0.05)  # the traffic's pace; nothing waits for it
    made = inserted(clickhouse)
    # After a quiet time each makes five batches without a pause.
    assert 0 < made < 5 * number + 2 * (time.monotonic() - begin) / seconds
    assert await wait_committed(log)
    assert sorted(stored(clickhouse)) == sorted(writer.written)


async def test_who_waits_for_own_messages_waits_for_no_batch_of_several_workers(
    start: Start, log: KafkaLog
) -> None:
    workers = [start(STANZALAKE_BATCH_SECONDS="60") for _ in range(2)]
    await asyncio.gather(*(one.start() for one in workers))
    await until(lambda: all(len(share(one)) == 2 for one in workers), SOON)
    writer = Writer(log)
    for owner in OWNERS:
        await writer.write()
        assert await log.wait_committed(EVENTS, PROCESSOR_GROUP, owner, SOON / 3)


def inserted(clickhouse: ClickHouse) -> int:
    """Give how many parts of messages were inserted: merges have no numbers of their own."""
    with ExitStack() as stack:
        store = Store(clickhouse.dsn(), "messages")
        stack.callback(store.close)
        statement = "SELECT max(max_block_number) FROM system.parts WHERE table = 'messages'"
        return int(store.select(statement)[0][0])


async def test_an_idle_worker_stops_on_sigterm(start: Start) -> None:
    worker = start()
    await worker.start()
    async with asyncio.timeout(QUICK):
        assert await worker.stop() == 0
    assert worker.log.read_text().splitlines()[-1].endswith("stopped")


async def test_a_busy_worker_stops_on_sigterm_and_the_next_continues(
    start: Start, log: KafkaLog, clickhouse: ClickHouse
) -> None:
    writer = Writer(log)
    await writer.write(200)
    worker = start(STANZALAKE_BATCH_ROWS="100")
    await worker.start()
    await until(lambda: stored(clickhouse))
    async with asyncio.timeout(QUICK):
        assert await worker.stop() == 0
    assert len(stored(clickhouse)) < len(writer.written)
    await start().start()
    assert await wait_committed(log)
    assert sorted(stored(clickhouse)) == sorted(writer.written)


async def test_a_worker_stops_without_a_commit_while_clickhouse_is_away(
    start: Start, log: KafkaLog, clickhouse: ClickHouse
) -> None:
    worker = start()
    await worker.start()
    await clickhouse.kill()
    writer = Writer(log)
    await writer.write()
    await until(lambda: "waiting: ClickHouse does not answer" in worker.log.read_text())
    async with asyncio.timeout(QUICK):
        assert await worker.stop() == 0
    assert not await log.wait_committed(EVENTS, PROCESSOR_GROUP, OWNERS[0], 0)
    await clickhouse.start()
    await start().start()
    assert await wait_committed(log)
    assert sorted(stored(clickhouse)) == sorted(writer.written)


async def test_a_worker_keeps_its_partitions_while_clickhouse_is_away(
    start: Start, log: KafkaLog, clickhouse: ClickHouse
) -> None:
    worker = start()
    await worker.start()
    await clickhouse.kill()
    writer = Writer(log)
    await writer.write()
    await until(lambda: "waiting: ClickHouse does not answer" in worker.log.read_text())
    await clickhouse.start()
    assert await wait_committed(log)
    assert sorted(stored(clickhouse)) == sorted(writer.written)
    assert worker.log.read_text().count("reading partitions") == 1


async def test_a_fatal_error_stops_the_worker_with_a_single_line(
    start: Start, log: KafkaLog, clickhouse: ClickHouse
) -> None:
    worker = start()
    await worker.start()
    store = Store(clickhouse.dsn(), "messages")
    store.command("DROP TABLE messages")
    store.close()
    await Writer(log).write()
    async with asyncio.timeout(SOON):
        assert await worker.wait() == 1
    assert worker.log.read_text().splitlines()[-1].startswith("stanzalake: ClickHouse refused it")
    assert "Traceback" not in worker.log.read_text()
    assert not await log.wait_committed(EVENTS, PROCESSOR_GROUP, OWNERS[0], 0)


async def test_an_invalid_record_becomes_a_dead_letter(start: Start, log: KafkaLog) -> None:
    await start().start()
    await log.append(EVENTS, [Entry(OWNERS[0], b"garbage")])
    assert await wait_committed(log)
    consumer = await log.consumer(REJECTED, "test")
    async with asyncio.timeout(SOON):
        while not (records := await consumer.read(10, 1.0)):
            pass
    assert [record.value for record in records] == [b"garbage"]


async def test_a_worker_stops_while_kafka_is_away(start: Start, tmp_path: Path) -> None:
    own = Kafka(directory=tmp_path / "kafka")
    await own.start()
    try:
        worker = start(STANZALAKE_KAFKA_BOOTSTRAP_SERVERS=own.address)
        await worker.start()
        await own.kill()
        await until(lambda: "Unable connect to node" in worker.log.read_text())
        async with asyncio.timeout(2 * QUICK):
            assert await worker.stop() == 0
        assert "Traceback" not in worker.log.read_text()
    finally:
        await own.stop()


async def test_poison_records_become_dead_letters_and_the_rest_is_archived(
    start: Start, log: KafkaLog, clickhouse: ClickHouse
) -> None:
    store = Store(clickhouse.dsn(), "messages")
    store.command("ALTER TABLE messages ADD CONSTRAINT c CHECK peer_resource != 'poison'")
    store.close()
    poison = [
        b"garbage",
        b"",
        encoded(9, stanza="<message>"),
        encoded(9).replace(b'"v":1', b'"v":2'),
        encoded(9, stanza=f"<message xmlns='jabber:client'>{'x' * 10 * 2**20}</message>"),
        encoded(9, peer_resource="poison"),
    ]
    writer = Writer(log)
    await writer.write()
    for value in poison:
        await log.append(EVENTS, [Entry(owner, value) for owner in OWNERS[:2]])
    await writer.write()
    worker = start()
    await worker.start()
    assert await wait_committed(log)
    assert sorted(stored(clickhouse)) == sorted(writer.written)
    kept = [record.value async for record in log.scan(REJECTED)]
    assert sorted(kept) == sorted(2 * poison)
    assert await worker.stop() == 0


async def test_too_many_consecutive_dead_letters_stop_the_worker_with_a_single_line(
    start: Start, log: KafkaLog
) -> None:
    await log.append(EVENTS, [Entry(OWNERS[0], b"garbage")] * 25)
    for kept in (10, 20):
        worker = start(STANZALAKE_MAX_REJECTED_IN_A_ROW="10")
        await worker.launch()
        async with asyncio.timeout(SOON):
            assert await worker.wait() == 1
        [line] = [one for one in worker.log.read_text().splitlines() if "stanzalake: " in one]
        assert line.startswith("stanzalake: 10 events in a row were rejected")
        assert len([record async for record in log.scan(REJECTED)]) == kept
    await start(STANZALAKE_MAX_REJECTED_IN_A_ROW="10").start()
    assert await wait_committed(log)
    assert len([record async for record in log.scan(REJECTED)]) == 25

"""KafkaLog's topics, partitions, rebalances, log-ins and failures."""

import asyncio
import gc
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any
from warnings import catch_warnings

import pytest
from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import RecordMetadata
from prometheus_client import REGISTRY

from devstack.kafka import Kafka
from devstack.ports import free_port
from devstack.process import running
from stanzalake.errors import LogRefused, LogUnavailable
from stanzalake.log.base import (
    AWAITED,
    EVENTS,
    PROCESSOR_GROUP,
    READ_BYTES,
    REJECTED,
    Consumer,
    Entry,
    Record,
)
from stanzalake.log.kafka import consumer as kafka_consumer
from stanzalake.log.kafka.client import Client, start
from stanzalake.log.kafka.commits import partition_of
from stanzalake.log.kafka.log import KafkaLog
from stanzalake.log.kafka.topics import Topics
from stanzalake.model.event import MAX_EVENT
from tests.support.kafka_log import PARTITIONS, PASSWORD, USER, open_kafka, unique_prefix
from tests.support.wait import until

GROUP = "readers"
OWNERS = [f"owner-{n}@capulet.lit" for n in range(40)]
SOON = 20.0
DAY = 86_400


@pytest.fixture
def prefix() -> str:
    return unique_prefix()


@pytest.fixture
async def log(kafka: Kafka, prefix: str) -> AsyncIterator[KafkaLog]:
    log = await open_kafka(kafka, prefix)
    yield log
    await log.close()


@pytest.fixture
async def admin(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    yield admin
    await admin.close()


def client(kafka: Kafka) -> dict[str, Any]:
    return {"bootstrap_servers": kafka.address}


async def described(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    answers: list[Any] = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic)]
    )
    return {entry[0]: entry[1] for entry in answers[0].resources[0][4]}


async def count_partitions(admin: AIOKafkaAdminClient, topic: str) -> int:
    [answer] = await admin.describe_topics([topic])
    return len(answer["partitions"])


async def visible(admin: AIOKafkaAdminClient, topic: str) -> None:
    """Wait until the brokers show a topic that was just created."""
    async with asyncio.timeout(SOON):
        while not (await count_partitions(admin, topic) and await described(admin, topic)):
            pass


async def read(consumer: Consumer, count: int) -> list[Record]:
    records: list[Record] = []
    async with asyncio.timeout(SOON):
        while len(records) < count:
            records += await consumer.read(1000, 0.1)
    return records


def next_offsets(records: Sequence[Record]) -> dict[int, int]:
    return {record.partition: record.offset + 1 for record in records}


async def test_topics_are_created_as_configured(
    kafka: Kafka, admin: AIOKafkaAdminClient, prefix: str
) -> None:
    topics = Topics(PARTITIONS, replication=1, retention=DAY, prefix=prefix)
    for _ in range(2):
        await topics.ensure(client(kafka))
        await visible(admin, prefix + EVENTS)
        await visible(admin, prefix + REJECTED)
    assert await count_partitions(admin, prefix + EVENTS) == PARTITIONS
    events = await described(admin, prefix + EVENTS)
    assert events["retention.ms"] == str(DAY * 1000)
    assert int(events["segment.ms"]) < DAY * 1000
    assert int(events["max.message.bytes"]) > MAX_EVENT
    assert (await described(admin, prefix + REJECTED))["retention.ms"] == "-1"
    await visible(admin, prefix + AWAITED)
    assert await count_partitions(admin, prefix + AWAITED) == 1
    assert (await described(admin, prefix + AWAITED))["retention.ms"] == "60000"


async def test_existing_topics_are_not_altered(
    kafka: Kafka, admin: AIOKafkaAdminClient, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = Topics(3, replication=1, retention=DAY, prefix=prefix)
    await made.ensure(client(kafka))
    await visible(admin, prefix + EVENTS)
    await replace(made, partitions=5, retention=2 * DAY).ensure(client(kafka))
    assert (await described(admin, prefix + EVENTS))["retention.ms"] == str(DAY * 1000)
    assert "has 3 partitions, not STANZALAKE_KAFKA_PARTITIONS=5" in caplog.text
    assert f"has retention.ms={DAY * 1000}, while the settings say {2 * DAY * 1000}" in caplog.text


async def test_a_topic_too_small_for_an_event_is_refused(
    kafka: Kafka, admin: AIOKafkaAdminClient, prefix: str
) -> None:
    small = {"max.message.bytes": "1000000"}
    await admin.create_topics([NewTopic(prefix + EVENTS, 1, 1, topic_configs=small)])
    await visible(admin, prefix + EVENTS)
    with pytest.raises(LogRefused, match=r"max\.message\.bytes=1000000"):
        await open_kafka(kafka, prefix)


async def test_more_replicas_than_brokers_name_the_setting(kafka: Kafka, prefix: str) -> None:
    with pytest.raises(LogRefused, match="STANZALAKE_KAFKA_REPLICATION=3"):
        await Topics(1, replication=3, retention=None, prefix=prefix).ensure(client(kafka))


async def test_without_brokers_open_raises_log_unavailable() -> None:
    nobody = {"bootstrap_servers": f"127.0.0.1:{free_port()}"}
    with pytest.raises(LogUnavailable, match="does not answer"):
        await KafkaLog.open(nobody, Topics(1, 1, None))


async def test_the_partitioner_agrees_with_the_producer(log: KafkaLog) -> None:
    await log.append(EVENTS, [Entry(owner, b"x") for owner in OWNERS])
    records = await read(await log.consumer(EVENTS, GROUP), len(OWNERS))
    assert {r.key: r.partition for r in records} == {o: partition_of(o, PARTITIONS) for o in OWNERS}
    assert {r.partition for r in records} == set(range(PARTITIONS))


async def test_a_resent_batch_with_unknown_offsets_is_appended_again(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its offset is -1 then: whoever waited for that would wait for nothing."""
    place = TopicPartition(EVENTS, 3)

    async def send(*_: object) -> list[RecordMetadata]:
        return [RecordMetadata(EVENTS, 3, place, -1, None, 0, log_start_offset=-1)]

    monkeypatch.setattr("stanzalake.log.kafka.log._send", send)
    with pytest.raises(LogUnavailable):
        await log.append(EVENTS, [Entry(OWNERS[0], b"x")])


async def test_added_partitions_are_looked_up(
    log: KafkaLog, admin: AIOKafkaAdminClient, prefix: str
) -> None:
    await admin.create_partitions({prefix + EVENTS: NewPartitions(2 * PARTITIONS)})
    async with asyncio.timeout(SOON):
        while await count_partitions(admin, prefix + EVENTS) != 2 * PARTITIONS:
            pass
    moved = next(
        o for o in OWNERS if partition_of(o, 2 * PARTITIONS) != partition_of(o, PARTITIONS)
    )
    await log.append(EVENTS, [Entry(moved, b"x")])
    assert not await log.wait_committed(EVENTS, GROUP, moved, 0)


async def test_the_largest_event_and_the_largest_dead_letter_fit(log: KafkaLog) -> None:
    for topic, size in ((EVENTS, MAX_EVENT), (REJECTED, READ_BYTES)):
        value = os.urandom(size)
        await log.append(topic, [Entry("a@b", value, (("reason", "r" * 1000),))])
        [record] = await read(await log.consumer(topic, topic), 1)
        assert record.value == value


async def test_records_of_other_producers_round_trip(
    log: KafkaLog, kafka: Kafka, prefix: str
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.address) as producer:
        await producer.send_and_wait(
            prefix + EVENTS, None, key=b"\xff", headers=[("h", b"\xfe"), ("n", None)]
        )
    [record] = await read(await log.consumer(EVENTS, GROUP), 1)
    assert (record.key, record.value) == ("\udcff", b"")
    assert record.headers == (("h", "\udcfe"), ("n", ""))
    await log.append(REJECTED, [Entry(record.key, record.value, record.headers)])


async def test_a_new_group_has_nothing_to_wait_for_in_an_emptied_partition(
    log: KafkaLog, admin: AIOKafkaAdminClient, prefix: str
) -> None:
    await log.append(EVENTS, [Entry(OWNERS[0], b"x")])
    place = TopicPartition(prefix + EVENTS, partition_of(OWNERS[0], PARTITIONS))
    assert not await log.wait_committed(EVENTS, GROUP, OWNERS[0], 0)
    await admin.delete_records({place: RecordsToDelete(before_offset=1)})
    assert await log.wait_committed(EVENTS, GROUP, OWNERS[0], 0)


async def test_deleted_unread_records_are_reported_and_nobody_waits_for_them(
    log: KafkaLog,
    admin: AIOKafkaAdminClient,
    prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    owner = OWNERS[0]
    number = partition_of(owner, PARTITIONS)
    consumer = await log.consumer(EVENTS, GROUP)
    for _ in range(5):
        await log.append(EVENTS, [Entry(owner, b"x")])
    await consumer.commit(next_offsets((await read(consumer, 5))[:2]))
    await consumer.close()
    place = TopicPartition(prefix + EVENTS, number)
    await admin.delete_records({place: RecordsToDelete(before_offset=5)})
    before = lost_records(number)
    assert await log.wait_committed(EVENTS, GROUP, owner, 0)
    assert await consumer.read(10, 2.0) == []
    assert (
        f"deleted 3 records of partition {number} of {place.topic}, offsets 2 to 4" in caplog.text
    )
    assert lost_records(number) - before == 3
    await log.append(EVENTS, [Entry(owner, b"y")])
    [record] = await read(consumer, 1)
    assert record.value == b"y"
    assert caplog.text.count("LOST") == 1


def lost_records(number: int) -> float:
    labels = {"partition": str(number)}
    return REGISTRY.get_sample_value("stanzalake_log_lost_records_total", labels) or 0


async def test_a_topic_created_anew_is_read_from_its_beginning(
    log: KafkaLog, kafka: Kafka, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    await log.append(EVENTS, [Entry(OWNERS[0], b"x")])
    place = TopicPartition(prefix + EVENTS, partition_of(OWNERS[0], PARTITIONS))
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka.address, group_id=prefix + GROUP, enable_auto_commit=False
    ) as other:
        other.assign([place])
        await other.commit({place: 7})
    consumer = await log.consumer(EVENTS, GROUP)
    [record] = await read(consumer, 1)
    assert record.value == b"x"
    assert "the topic was created anew, and is read from offset 0" in caplog.text


async def test_a_running_member_reads_a_topic_that_is_created_anew(
    log: KafkaLog, admin: AIOKafkaAdminClient, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_consumer, "_METADATA_MS", 500)
    consumer = await log.consumer(EVENTS, GROUP)
    await log.append(EVENTS, [Entry(OWNERS[0], b"x")] * 2)
    await consumer.commit(next_offsets(await read(consumer, 2)))
    await admin.delete_topics([prefix + EVENTS])
    async with asyncio.timeout(SOON):
        while await consumer.read(1, 0.1) or consumer.partitions():
            pass
        while [e for e in await create(admin, prefix + EVENTS) if e]:
            pass
    await visible(admin, prefix + EVENTS)
    await log.append(EVENTS, [Entry(OWNERS[0], b"y")])
    [record] = await read(consumer, 1)
    assert (record.value, record.offset) == (b"y", 0)
    assert not await log.wait_committed(EVENTS, GROUP, OWNERS[0], 0)
    await consumer.commit(next_offsets([record]))
    assert await log.wait_committed(EVENTS, GROUP, OWNERS[0], 0)


async def create(admin: AIOKafkaAdminClient, topic: str) -> list[int]:
    """Create a topic, and return Kafka's error codes."""
    answer: Any = await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    return [error[1] for error in answer.topic_errors]


async def test_a_processor_hears_at_once_who_waits_for_its_commit(log: KafkaLog) -> None:
    consumer = await log.consumer(EVENTS, PROCESSOR_GROUP)
    await log.append(EVENTS, [Entry(OWNERS[0], b"x")])
    [record] = await read(consumer, 1)
    # A reader learns of announcements once it is connected, so somebody waits again and again.
    while not consumer.awaited():
        waiting = asyncio.create_task(wait(log, OWNERS[0], 1.0))
        async with asyncio.timeout(SOON):
            assert await consumer.read(1, SOON) == []
    assert consumer.awaited() == {record.partition: record.offset + 1}
    await consumer.commit(next_offsets([record]))
    assert await waiting
    assert consumer.awaited() == {}


async def test_a_page_goes_on_once_its_messages_are_written_and_before_their_commit(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = await log.consumer(EVENTS, PROCESSOR_GROUP)
    let_commit = asyncio.Event()
    commit: Any = AIOKafkaConsumer.commit

    async def hang(self: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
        await let_commit.wait()
        await commit(self, offsets)

    monkeypatch.setattr(AIOKafkaConsumer, "commit", hang)
    commits: list[asyncio.Task[None]] = []
    is_answered = False
    # Both hear of each other once they are connected.
    async with asyncio.timeout(SOON):
        while not is_answered:
            await log.append(EVENTS, [Entry(OWNERS[0], b"x")])
            records = await read(consumer, 1)
            waiting = asyncio.create_task(wait(log, OWNERS[0], 1.0))
            await consumer.read(1, 1.0)
            commits.append(asyncio.create_task(consumer.commit(next_offsets(records))))
            is_answered = await waiting
    assert not any(task.done() for task in commits)
    let_commit.set()
    await asyncio.gather(*commits)


async def wait(log: KafkaLog, owner: str, timeout: float) -> bool:
    return await log.wait_committed(EVENTS, PROCESSOR_GROUP, owner, timeout)


async def test_of_a_flood_of_announcements_the_last_is_heeded(
    kafka: Kafka, log: KafkaLog, prefix: str
) -> None:
    consumer = await log.consumer(EVENTS, PROCESSOR_GROUP)
    producer = AIOKafkaProducer(**client(kafka))
    await producer.start()
    offset = 0
    async with asyncio.timeout(SOON):
        while not consumer.awaited():
            offset += 1
            await producer.send_and_wait(prefix + AWAITED, b"0:%d" % offset)
            await consumer.read(1, 0.1)
        await producer.send(prefix + AWAITED, b"no watermarks")
        for number in range(1000):
            await producer.send(prefix + AWAITED, b"0:%d" % (offset + number))
        await producer.send_and_wait(prefix + AWAITED, b"1:1")
        await until(lambda: consumer.awaited() == {0: offset + 999, 1: 1})
    await producer.stop()


async def test_waiters_share_the_requests(log: KafkaLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiter asks about 13 times in a second; two hundred of a partition, hardly more."""
    await log.append(EVENTS, [Entry(OWNERS[0], b"x")])
    requests = count_requests(monkeypatch)
    waits = [log.wait_committed(EVENTS, GROUP, OWNERS[0], 1.0) for _ in range(200)]
    assert await asyncio.gather(*waits) == [False] * 200
    assert requests["OffsetFetchRequest"] <= 40  # each for itself, they made thousands
    # For ends and beginnings; the clients' own requests take as many as the machine takes time.
    assert requests["OffsetRequest"] <= 40


def count_requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the requests to Kafka, by name."""
    requests = Counter[str]()
    connections: Any = AIOKafkaClient
    send = connections.send

    async def counting(self: Any, node: Any, request: Any, **options: Any) -> Any:
        requests[type(request).__name__] += 1
        return await send(self, node, request, **options)

    monkeypatch.setattr(AIOKafkaClient, "send", counting)
    return requests


async def test_look_ups_that_fail_together_leave_no_client(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second failure comes when another client has replaced the failed one."""
    started, stopped = list[object](), set[object]()
    asked, late = asyncio.Event(), asyncio.Event()
    consumer: Any = AIOKafkaConsumer
    start, stop, committed = consumer.start, consumer.stop, consumer.committed

    async def starting(self: Any) -> None:
        started.append(self)
        await start(self)

    async def stopping(self: Any) -> None:
        stopped.add(self)
        await stop(self)

    async def failing(self: Any, place: TopicPartition) -> Any:
        if self is not started[0]:
            return await committed(self, place)
        if place.partition == 1:
            asked.set()
            await late.wait()
        raise KafkaConnectionError

    monkeypatch.setattr(AIOKafkaConsumer, "start", starting)
    monkeypatch.setattr(AIOKafkaConsumer, "stop", stopping)
    monkeypatch.setattr(AIOKafkaConsumer, "committed", failing)
    keys = {partition_of(owner, PARTITIONS): owner for owner in OWNERS}
    slow = asyncio.ensure_future(log.wait_committed(EVENTS, GROUP, keys[1], SOON))
    await asked.wait()
    with pytest.raises(LogUnavailable):
        await log.wait_committed(EVENTS, GROUP, keys[0], SOON)
    assert await log.wait_committed(EVENTS, GROUP, keys[0], SOON)
    late.set()
    with pytest.raises(LogUnavailable):
        await slow
    assert await log.wait_committed(EVENTS, GROUP, keys[1], SOON)
    await log.close()
    assert len(started) == 2
    assert stopped == set(started)


async def test_a_member_keeps_its_partitions_while_it_does_not_read(
    kafka: Kafka, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that is: aiokafka leaves the group by itself after its longest idle time."""
    idle = "aiokafka.consumer.subscription_state.SubscriptionState.fetcher_idle_time"
    monkeypatch.setattr(idle, 14 * DAY)
    session = 1.0
    log = await open_kafka(kafka, prefix, session)
    await log.append(EVENTS, [Entry(OWNERS[0], b"x")])
    consumer = await log.consumer(EVENTS, GROUP)
    records = await read(consumer, 1)
    assert not await log.wait_committed(EVENTS, GROUP, OWNERS[0], 4 * session)
    await consumer.commit(next_offsets(records))
    assert await log.wait_committed(EVENTS, GROUP, OWNERS[0], 0)
    await log.close()


@asynccontextmanager
async def reading(consumer: Consumer) -> AsyncIterator[list[Record]]:
    """Read and commit in the background; yield the records read so far.

    As in the processor, a read or a commit that fails is tried again.
    """
    records: list[Record] = []

    async def run() -> None:
        while True:
            with suppress(LogUnavailable):
                records.extend(await consumer.read(1000, 0.1))
                await consumer.commit(next_offsets(records))

    task = asyncio.ensure_future(run())
    try:
        yield records
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def send(log: KafkaLog, value: bytes) -> None:
    await log.append(EVENTS, [Entry(owner, value) for owner in OWNERS])


def keys(records: Sequence[Record]) -> list[str]:
    return sorted(record.key for record in records)


async def test_a_member_names_its_partitions_before_they_have_records(log: KafkaLog) -> None:
    consumer = await log.consumer(EVENTS, GROUP)
    async with asyncio.timeout(SOON):
        while set(consumer.partitions()) != set(range(PARTITIONS)):
            assert not await consumer.read(1, 0.1)


async def test_members_share_the_partitions(log: KafkaLog) -> None:
    first, second = [await log.consumer(EVENTS, GROUP) for _ in range(2)]
    async with reading(first) as of_first, reading(second) as of_second:
        while not (of_first and of_second):
            await send(log, b"x")
            assert await log.wait_committed(EVENTS, GROUP, OWNERS[0], SOON)
        of_first.clear()
        of_second.clear()
        await send(log, b"y")
        await until(lambda: len(of_first) + len(of_second) >= len(OWNERS))
    assert keys(of_first + of_second) == sorted(OWNERS)
    assert not {r.partition for r in of_first} & {r.partition for r in of_second}


async def test_a_batch_is_committed_before_its_partitions_are_revoked(log: KafkaLog) -> None:
    first, second = [await log.consumer(EVENTS, GROUP) for _ in range(2)]
    await send(log, b"x")
    batch = await read(first, len(OWNERS))
    async with reading(second) as of_second:
        # The second member has its partitions only once the first gave the batch back.
        assert await first.read(1000, 0.5) == []
        await first.commit(next_offsets(batch))
        async with reading(first) as of_first:
            while not of_second:
                await send(log, b"y")
                assert await log.wait_committed(EVENTS, GROUP, OWNERS[0], SOON)
    assert {record.value for record in of_first + of_second} == {b"y"}


async def test_a_batch_not_committed_in_time_is_read_again_by_the_new_member(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stanzalake.log.kafka.consumer._REVOKE_SECONDS", 0.1)
    first, second = [await log.consumer(EVENTS, GROUP) for _ in range(2)]
    await send(log, b"x")
    batch = await read(first, len(OWNERS))
    async with reading(second) as of_second:
        await until(lambda: of_second)
        await first.commit(next_offsets(batch))
        missing = set(OWNERS) - {record.key for record in of_second}
        for owner in missing:
            assert not await log.wait_committed(EVENTS, GROUP, owner, 0)
        async with reading(first) as of_first:
            await until(lambda: {r.key for r in of_first + of_second} == set(OWNERS))
            for owner in OWNERS:
                assert await log.wait_committed(EVENTS, GROUP, owner, SOON)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
async def test_sasl_log_in(kafka: Kafka, prefix: str, mechanism: str) -> None:
    log = await KafkaLog.open(sasl(kafka, mechanism, PASSWORD), Topics(1, 1, None, prefix))
    await log.append(EVENTS, [Entry("a@b", b"x")])
    assert await read(await log.consumer(EVENTS, GROUP), 1)
    assert not await log.wait_committed(EVENTS, GROUP, "a@b", 0)
    await log.close()


async def test_a_wrong_password_is_logged(
    kafka: Kafka, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LogUnavailable):
        await KafkaLog.open(sasl(kafka, "PLAIN", "wrong"), Topics(1, 1, None, prefix))
    assert "Authentication failed" in caplog.text


def sasl(kafka: Kafka, mechanism: str, password: str) -> dict[str, Any]:
    return {
        "bootstrap_servers": f"127.0.0.1:{kafka.sasl_port}",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": USER,
        "sasl_plain_password": password,
    }


@pytest.mark.slow
async def test_appends_and_reads_survive_a_broker_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appends fail cleanly or succeed, and a commit that failed is tried again."""
    # Less than the restart takes, as it was 10 seconds on a busy machine.
    monkeypatch.setattr("stanzalake.log.kafka.consumer._COMMIT_SECONDS", 1.0)
    appended: list[str] = []

    async def write(log: KafkaLog) -> None:
        for number in range(500):
            with suppress(LogUnavailable):
                await log.append(EVENTS, [Entry(OWNERS[number % 40], b"%d" % number)])
                appended.append(str(number))

    async with running(Kafka(directory=tmp_path)) as kafka:
        log = await open_kafka(kafka, "")
        async with reading(await log.consumer(EVENTS, GROUP)) as records:
            writing = asyncio.ensure_future(write(log))
            await until(lambda: len(records) > 100)
            await kafka.kill()
            await kafka.start()
            await asyncio.wait_for(writing, 60)
            await until(lambda: {r.value.decode() for r in records} >= set(appended))
            for owner in OWNERS:
                assert await log.wait_committed(EVENTS, GROUP, owner, SOON)
        await log.close()
    assert len(appended) > 450


@pytest.mark.parametrize(("group", "clients"), [(PROCESSOR_GROUP, 6), (GROUP, 3)])
async def test_nothing_runs_on_after_a_close_that_frozen_brokers_hold_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, clients: int
) -> None:
    monkeypatch.setattr("stanzalake.log.kafka.client.STOP_SECONDS", 0.5)
    connected: list[Client] = []

    async def connect(client: Client) -> None:
        await start(client)
        connected.append(client)

    monkeypatch.setattr("stanzalake.log.kafka.client.start", connect)
    before = asyncio.all_tasks()
    async with running(Kafka(directory=tmp_path / "kafka")) as broker:
        log = await open_kafka(broker, unique_prefix())
        await log.append(EVENTS, [Entry(OWNERS[0], b"x")])
        consumer = await log.consumer(EVENTS, group)
        await read(consumer, 1)
        await log.wait_committed(EVENTS, group, OWNERS[0], 0.1)
        # aiokafka leaves the first connection of a client whose start is interrupted to Python.
        await until(lambda: len(connected) == clients)
        with frozen(broker):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await log.append(EVENTS, [Entry(OWNERS[0], b"y")])
            await log.close()
            assert asyncio.all_tasks() == before


@contextmanager
def frozen(broker: Kafka) -> Iterator[None]:
    broker.signal(SIGSTOP)
    try:
        yield
    finally:
        broker.signal(SIGCONT)


async def test_an_interrupted_start_leaves_no_connection(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()
    connection: Any = AIOKafkaConnection
    send = connection.send

    def asking(self: Any, request: Any, **options: Any) -> Any:
        if isinstance(request, MetadataRequest):
            asked.set()
        return send(self, request, **options)

    monkeypatch.setattr(AIOKafkaConnection, "send", asking)
    starting = asyncio.create_task(start(AIOKafkaConsumer(**client(kafka))))
    await asked.wait()
    starting.cancel()
    await asyncio.wait({starting})
    with catch_warnings(record=True, action="always") as warnings:
        gc.collect()
    assert warnings == []

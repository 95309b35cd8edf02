"""The Kafka consumer: every record is read once, whenever it comes."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from stanzalake.errors import LogUnavailable
from stanzalake.log.kafka import awaited as kafka_awaited
from stanzalake.log.kafka import consumer as kafka_consumer
from stanzalake.log.kafka.awaited import AwaitedOffsets, Waiters
from stanzalake.log.kafka.consumer import KafkaConsumer

TOPIC = "stanzalake.events"
TICK = 0.0001
TIMEOUT = 10 * TICK
"""Seconds; aiokafka counts milliseconds."""


class TickingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock advances by a tick whenever it is read, so that runs repeat exactly."""

    ticks = 0

    def time(self) -> float:
        self.ticks += 1
        return self.ticks * TICK


class Broker:
    """Stands in for AIOKafkaConsumer: takes records in the last step of a read, as it does."""

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.next_offset = 0
        self._waiter: asyncio.Future[None] | None = None

    def arrive(self) -> None:
        self.arrived.append(self.next_offset)
        self.next_offset += 1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def getmany(
        self, timeout_ms: int, max_records: int
    ) -> Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]]:
        if not self.arrived and timeout_ms:
            self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._waiter], timeout=timeout_ms / 1000)
        taken, self.arrived = self.arrived[:max_records], self.arrived[max_records:]
        return {TopicPartition(TOPIC, 0): [record(offset) for offset in taken]} if taken else {}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def subscribe(self, topics: Sequence[str], listener: object) -> None: ...

    def assignment(self) -> set[TopicPartition]:
        return set()


class Waiting:
    """Stands in for those who wait for commits."""

    hears = True
    on_heard: Any = None
    partitions: Any = None

    def hear(self) -> None:
        if self.on_heard is not None:
            self.on_heard()


def record(offset: int) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord(TOPIC, 0, offset, 0, 0, b"key", b"value", None, 3, 5, ())


Moments = st.lists(
    st.tuples(st.integers(-12, 12), st.none() | st.integers(-20, 12)), min_size=1, max_size=30
)
"""When a record comes, and when somebody begins to wait, in ticks from a read's deadline."""


@given(Moments)
def test_each_record_is_read_once_whenever_it_comes(
    moments: Sequence[tuple[int, int | None]],
) -> None:
    broker, waiters = Broker(), Waiting()
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=TickingLoop) as runner:
        patch.setattr(kafka_consumer, "AIOKafkaConsumer", lambda **_: broker)
        consumer = KafkaConsumer({}, TOPIC, "readers", waiters=waiters)  # type: ignore[arg-type]
        offsets = runner.run(read_around(moments, consumer, broker, waiters))
    assert offsets == list(range(len(moments)))


async def read_around(
    moments: Sequence[tuple[int, int | None]],
    consumer: KafkaConsumer,
    broker: Broker,
    waiters: Waiting,
) -> Sequence[int]:
    """Return the offsets that reads give while records come around their deadlines."""
    loop = asyncio.get_running_loop()
    found: list[int] = []
    for comes, heard in moments:
        deadline = loop.time() + TIMEOUT
        loop.call_at(deadline + comes * TICK, broker.arrive)
        if heard is not None:
            loop.call_at(deadline + heard * TICK, waiters.hear)
        found += [r.offset for r in await consumer.read(10, TIMEOUT)]
    while broker.arrived or broker.next_offset < len(moments):
        found += [r.offset for r in await consumer.read(10, TIMEOUT)]
    return found


class Member(Broker):
    """Stands in for AIOKafkaConsumer as a member of a group, whose polls have wall-clock stamps."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: list[int] = []
        self.polled: int | None = None

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(TOPIC, 0)}

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {0, 1, 2, 3} if topic == TOPIC else None

    def last_poll_timestamp(self, partition: TopicPartition) -> int | None:  # noqa: ARG002  # one
        return self.polled

    def seek(self, offset: int) -> None:
        self.next_offset = offset

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.committed += offsets.values()


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Member:
    member = Member()
    monkeypatch.setattr(kafka_consumer, "AIOKafkaConsumer", lambda **_: member)
    return member


async def test_a_late_commit_does_not_take_back_what_another_member_has_committed(
    member: Member,
) -> None:
    """The partition went to another member, which committed up to 7, and came back."""
    consumer = KafkaConsumer({}, TOPIC, "readers")
    member.arrive()
    await consumer.read(1, TIMEOUT)
    await consumer.on_partitions_assigned(member.assignment())
    member.seek(7)
    member.arrive()
    await consumer.read(1, TIMEOUT)
    await consumer.commit({0: 1})
    await consumer.commit({0: 8})
    assert member.committed == [8]


async def test_a_share_is_the_whole_unless_it_is_known_and_somebody_can_be_heard(
    member: Member,
) -> None:
    waiters = Waiting()
    consumer = KafkaConsumer({}, TOPIC, "readers", waiters=waiters)  # type: ignore[arg-type]
    shares = [consumer.share()]
    await consumer.read(1, TIMEOUT)
    for count in (1, 3, 4, 0):
        await consumer.on_partitions_assigned({TopicPartition(TOPIC, n) for n in range(count)})
        shares.append(consumer.share())
        await consumer.on_partitions_revoked(member.assignment())
        shares.append(consumer.share())
    assert shares == [1, 0.25, 1, 0.75, 1, 1, 1, 1, 1]
    await consumer.on_partitions_assigned(member.assignment())
    waiters.hears = False
    assert consumer.share() == 1


@pytest.mark.parametrize("step", [-86_400, 86_400])
async def test_a_silent_broker_is_found_whatever_the_wall_clock_does(
    member: Member, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    now = [1000.0, 2_000_000_000.0]
    clocks = SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[1])
    monkeypatch.setattr(kafka_consumer, "time", clocks)
    consumer = KafkaConsumer({}, TOPIC, "readers")
    for _ in range(3):
        now[0] += 50
        now[1] += 50 + step
        member.polled = int(now[1] * 1000)
        assert not await consumer.read(1, TIMEOUT)
    now[0] += 61
    with pytest.raises(LogUnavailable):
        await consumer.read(1, TIMEOUT)


def test_an_offset_of_a_topic_that_was_created_anew_is_soon_awaited_no_more() -> None:
    now = [1000.0]
    awaited = AwaitedOffsets(lambda: now[0])
    awaited.add({0: 1_000_000, 1: 5})
    for offset in range(1, 40):  # of the new topic, announced all the time
        now[0] += 2
        awaited.add({0: offset})
    assert awaited.read() == {0: 39}


def test_the_highest_of_several_awaited_offsets_counts() -> None:
    awaited = AwaitedOffsets(lambda: 1000.0)
    for offset in (90, 100, 95):
        awaited.add({0: offset})
    assert awaited.read() == {0: 100}


def test_offsets_of_partitions_that_do_not_exist_take_little_memory() -> None:
    now = [1000.0]
    awaited = AwaitedOffsets(lambda: now[0])
    awaited.add({0: 1})
    awaited.add(dict.fromkeys(range(50_000, 80_000), 1))
    awaited.add({0: 2, 1: 3})
    assert (len(awaited.read()), awaited.read()[0]) == (10_000, 2)
    now[0] += 61
    awaited.add({1: 3})
    assert awaited.read() == {1: 3}


def test_who_waits_for_a_later_batch_is_told_of_this_one_too() -> None:
    awaited = AwaitedOffsets(lambda: 1000.0)
    awaited.add({0: 10, 1: 20})
    assert awaited.settle({0: 10, 1: 15, 2: 7}) == {0: 10, 1: 15}
    assert awaited.read() == {1: 20}
    assert awaited.settle({0: 12, 1: 20}) == {1: 20}
    assert awaited.read() == {}


class Announcements:
    """Announcements to a processor, and its answers, without Kafka."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(kafka_awaited, "Announcer", lambda *_: self)
        patch.setattr(kafka_awaited, "Listener", self._listen)
        self.now = 1000.0
        self.interrupted = 0
        self.answers: list[tuple[int, int]] = []
        self.waiters = Waiters({}, "awaited", lambda: self.now)
        self.waiters.on_heard = self._interrupt
        self.waiters.partitions = lambda: {0}

    def _listen(self, *arguments: Any) -> object:
        self.hear = arguments[-1]
        return SimpleNamespace(hears=True)

    def _interrupt(self) -> None:
        self.interrupted += 1

    def announce(self, partition: int, offset: int) -> None:
        self.answers.append((partition, offset))


@pytest.fixture
def announcements(monkeypatch: pytest.MonkeyPatch) -> Announcements:
    return Announcements(monkeypatch)


def test_announcements_that_come_too_fast_are_heeded_together(announcements: Announcements) -> None:
    for offset in range(1, 101):
        announcements.hear({0: offset})
        assert announcements.waiters.awaited() == {0: min(offset, 10)}
    assert announcements.interrupted == 10
    announcements.now += 0.21
    assert announcements.waiters.awaited() == {0: 100}


@pytest.mark.parametrize(("part", "heeded"), [(1, 5), (0.5, 2.5), (0.25, 1.25), (1 / 12, 1)])
def test_what_announcements_make_in_the_store_is_shared_by_the_processors(
    announcements: Announcements, part: float, heeded: float
) -> None:
    announcements.waiters.share = lambda: part
    for number in range(20 * 60):
        announcements.hear({0: number})
        announcements.now += 0.05
    assert announcements.interrupted == pytest.approx(10 + 60 * heeded, abs=1)


def test_announcements_for_other_processors_do_not_count(announcements: Announcements) -> None:
    for offset in range(1, 101):
        announcements.hear({1: offset})
    announcements.hear({0: 5})
    assert announcements.waiters.awaited()[0] == 5
    assert announcements.interrupted == 1


def test_who_waits_for_a_partition_is_known_to_the_processor_that_gets_it(
    announcements: Announcements,
) -> None:
    announcements.hear({1: 7})
    assert announcements.waiters.awaited() == {}
    announcements.waiters.partitions = lambda: {1}
    assert announcements.waiters.awaited() == {1: 7}


def test_who_announced_too_fast_is_answered_all_the_same(announcements: Announcements) -> None:
    for offset in range(1, 101):
        announcements.hear({0: offset})
    announcements.waiters.answer({0: 100})
    assert announcements.answers == [(0, 100)]
    announcements.now += 0.21
    assert announcements.waiters.awaited() == {}

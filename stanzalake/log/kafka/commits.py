"""Waits for a group's commits on a topic, with a poll per partition that all waiters share."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from stanzalake.errors import LogUnavailable, StanzalakeError
from stanzalake.log.kafka import client as kafka
from stanzalake.log.kafka.shared import SharedClient
from stanzalake.log.watermarks import Watermarks

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.2
_GROWTH = 1.3
_ANSWER_SECONDS = 1.0
"""Seconds for Kafka's first answer, also for a shorter timeout."""

_murmur2 = DefaultPartitioner()


class CommitWatch:
    """Compares the commits of a group with the ends of a topic's partitions.

    The number of requests depends on the partitions that are waited for, not on the waiters. A
    partition whose leader is away holds up its own waiters only.

    Args:
        client: Connection arguments of aiokafka's clients.
        topic: The topic's full name.
        group: The group's full name.
        announce: Gets a partition, and the offset that somebody begins to wait for.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        topic: str,
        group: str,
        announce: Callable[[int, int], None] | None = None,
    ) -> None:
        self._client = client
        self._topic = topic
        self._group = group
        self._announce = announce or (lambda _partition, _offset: None)
        self._lookup = SharedClient(self._make_lookup)
        # By client: a waiter may still have one that another waiter has replaced.
        self._polls: dict[tuple[AIOKafkaConsumer, TopicPartition], _PartitionPoll] = {}
        self._locating = asyncio.Lock()

    async def wait(self, key: str, timeout: float, up_to: Watermarks) -> bool:
        """Wait until the group has committed everything in the key's partition.

        Args:
            key: The owner.
            timeout: Maximum seconds to wait.
            up_to: Lowers the offset to wait for, by partition.

        Returns:
            False on a timeout.

        Raises:
            LogUnavailable: Kafka does not answer.
            LogRefused: Kafka refuses the look-up.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        lookup = None
        try:
            async with asyncio.timeout(max(timeout, _ANSWER_SECONDS)):
                with kafka.translate_errors():
                    lookup = await self._lookup.get()
                    partition = await self._locate(lookup, key)
                poll = self._poll(lookup, partition)
                return await poll.wait(deadline, up_to.get(partition.partition))
        except TimeoutError:
            if lookup is None:
                raise LogUnavailable("Kafka does not answer in time") from None
            return False
        except StanzalakeError:
            if lookup is not None:
                await self._drop(lookup)
            raise

    def note_written(self, offsets: Mapping[int, int]) -> None:
        """Answer those who wait for less than the group says to have written, by partition."""
        for (_, partition), poll in self._polls.items():
            if partition.partition in offsets:
                poll.note_written(offsets[partition.partition])

    async def close(self) -> None:
        """Fail the waiters and disconnect."""
        self._stop_polls()
        await self._lookup.close()

    def _poll(self, lookup: AIOKafkaConsumer, partition: TopicPartition) -> "_PartitionPoll":
        key = lookup, partition
        if key not in self._polls:
            self._polls[key] = _PartitionPoll(lookup, partition, self._announce)
        return self._polls[key]

    def _make_lookup(self) -> AIOKafkaConsumer:
        # Without a subscription the client is no member of the group.
        return AIOKafkaConsumer(**self._client, group_id=self._group)

    async def _locate(self, lookup: AIOKafkaConsumer, key: str) -> TopicPartition:
        """Return the partition of a key, by the client's metadata.

        Clients learn of added partitions within five minutes; until then producers may disagree.
        """
        async with self._locating:
            if not lookup.partitions_for_topic(self._topic):
                # A request about one partition makes the client fetch the topic's metadata.
                await lookup.end_offsets([TopicPartition(self._topic, 0)])
        count = len(lookup.partitions_for_topic(self._topic))
        return TopicPartition(self._topic, partition_of(key, count))

    async def _drop(self, lookup: AIOKafkaConsumer) -> None:
        """Stop a failed client, unless another waiter has replaced it already."""
        if self._lookup.forget(lookup):
            self._stop_polls()
            await kafka.stop(lookup)

    def _stop_polls(self) -> None:
        polls, self._polls = self._polls, {}
        for poll in polls.values():
            poll.stop()


@dataclass(eq=False, slots=True)
class _Waiter:
    """A waiter of a partition.

    Attributes:
        deadline: Time of the event loop from which on the answer is False.
        up_to: Lowers the offset to wait for, if known.
        answer: Set by the poll.
        end: The offset to wait for, once known.
    """

    deadline: float
    up_to: int | None
    answer: asyncio.Future[bool]
    end: int | None = None

    def reached(self, committed: int) -> bool:
        """Return whether a committed offset is all that this waiter waits for."""
        return self.end is not None and committed >= self.end


class _PartitionPoll:
    """Polls the committed offset of a partition while anybody waits for it.

    Args:
        lookup: Client for the requests.
        partition: The partition.
        announce: Gets the partition's number, and the offset that somebody begins to wait for.
    """

    def __init__(
        self,
        lookup: AIOKafkaConsumer,
        partition: TopicPartition,
        announce: Callable[[int, int], None],
    ) -> None:
        self._lookup = lookup
        self._announce = announce
        self._partition = partition
        self._waiters: set[_Waiter] = set()
        # The offset up to which the group has written, and is about to commit.
        self._written = 0
        self._added = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def wait(self, deadline: float, up_to: int | None) -> bool:
        """Wait for the end of the partition, or for a smaller offset; False after the deadline."""
        waiter = _Waiter(deadline, up_to, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        self._added.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        try:
            return await waiter.answer
        finally:
            self._waiters.discard(waiter)

    def note_written(self, offset: int) -> None:
        """Answer the waiters up to an offset that is not committed yet."""
        if self._task is not None:
            self._written = max(offset, self._written)
            self._answer_reached(self._written)

    def stop(self) -> None:
        """End the poll, and fail its waiters."""
        self._fail(LogUnavailable("the connection to Kafka is closed"))
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            with kafka.translate_errors():
                await self._answer_all()
        except StanzalakeError as error:
            self._fail(error)
        finally:
            self._task = None
            self._written = 0

    def _fail(self, error: StanzalakeError) -> None:
        for waiter in self._waiters:
            if not waiter.answer.done():
                waiter.answer.set_exception(error)
        self._waiters.clear()

    async def _answer_all(self) -> None:
        pause = _FIRST_PAUSE
        while self._waiters:
            self._added.clear()
            await self._answer(list(self._waiters))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause if self._waiters else 0):
                    await self._added.wait()
            pause = _FIRST_PAUSE if self._added.is_set() else min(_GROWTH * pause, _LONGEST_PAUSE)

    async def _answer(self, waiters: Collection[_Waiter]) -> None:
        """Answer the waiters whose offset is committed, or whose time is over."""
        new = [waiter for waiter in waiters if waiter.end is None]
        committed, end = await asyncio.gather(self._committed(), self._end(new))
        if new and end < self._written:
            self._written = 0  # of a topic that was created anew
        committed = max(committed, self._written)
        for waiter in new:
            # A re-created topic ends before the watermarks of the old one.
            waiter.end = end if waiter.up_to is None else min(end, waiter.up_to)
        if not all(waiter.reached(committed) for waiter in new):
            self._announce_end(new, committed)
            # Nobody will commit the offsets of records that Kafka has deleted.
            committed = max(committed, await self._beginning())
        self._answer_reached(committed)
        self._answer_late(waiters)

    def _answer_reached(self, committed: int) -> None:
        for waiter in [waiter for waiter in self._waiters if waiter.reached(committed)]:
            self._finish(waiter, reached=True)

    def _answer_late(self, waiters: Collection[_Waiter]) -> None:
        now = asyncio.get_running_loop().time()
        for waiter in waiters:
            if now >= waiter.deadline:
                self._finish(waiter, reached=False)

    def _finish(self, waiter: _Waiter, *, reached: bool) -> None:
        if not waiter.answer.done():
            waiter.answer.set_result(reached)
        self._waiters.discard(waiter)

    def _announce_end(self, waiters: Collection[_Waiter], committed: int) -> None:
        ends = [one.end for one in waiters if one.end is not None and not one.reached(committed)]
        if ends:
            self._announce(self._partition.partition, max(ends))

    async def _committed(self) -> int:
        return await self._lookup.committed(self._partition) or 0

    async def _end(self, waiters: Collection[_Waiter]) -> int:
        if not waiters:
            return 0
        return int((await self._lookup.end_offsets([self._partition]))[self._partition])

    async def _beginning(self) -> int:
        return int((await self._lookup.beginning_offsets([self._partition]))[self._partition])


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key, as Kafka's default partitioner does."""
    numbers = range(partitions)
    return int(_murmur2(kafka.encode(key), numbers, numbers))

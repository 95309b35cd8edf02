"""The Kafka consumer: a group member that outlives failures of its aiokafka client."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import ConsumerRecord

from stanzalake.log.base import READ_BYTES, Record
from stanzalake.log.kafka import client
from stanzalake.log.kafka.awaited import Waiters
from stanzalake.model.event import MAX_EVENT
from stanzalake.observability.metrics import RECORDS_LOST

SESSION_SECONDS = 10.0

_COMMIT_SECONDS = 10.0
_REVOKE_SECONDS = 10.0
_REBALANCE_SECONDS = 30.0
_SILENCE_SECONDS = 60.0
_NEVER_MS = 2**31 - 1
_METADATA_MS = 10_000
"""Between looks for partitions that were added, or of a topic that was created anew."""
_STEP_RECORDS = 64
"""Records per step of a read; bounds its bytes when large records follow small ones."""

_Fetched = Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]]

log = logging.getLogger(__name__)


class KafkaConsumer(ConsumerRebalanceListener):
    """A group's reader of a topic of a KafkaLog.

    Membership does not depend on reads: while the store is away nobody reads, and the assignment
    stays. A failed aiokafka client is replaced at the next read.

    Args:
        client: Connection arguments of aiokafka's clients.
        topic: The topic's full name.
        group: The group's full name.
        session: Seconds until the group expels a silent member.
        on_rebalance: Called before the first records of a new assignment are returned.
        waiters: Those who wait for commits.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the parts of a member
        self,
        client: Mapping[str, Any],
        topic: str,
        group: str,
        session: float = SESSION_SECONDS,
        on_rebalance: Callable[[], None] | None = None,
        waiters: Waiters | None = None,
    ) -> None:
        self._client = client
        self._topic = topic
        self._group = group
        self._session = session
        self._on_rebalance = on_rebalance or (lambda: None)
        self._waiters = waiters
        if waiters is not None:
            waiters.partitions, waiters.share = self.partitions, self.share
        self._inner: AIOKafkaConsumer | None = None
        self._share = 1.0
        self._heard = 0.0
        self._polls: Mapping[TopicPartition, int | None] = {}
        # The next offset of each partition with uncommitted records, emptied on a rebalance:
        # this member may commit no other partition.
        self._uncommitted: dict[int, int] = {}
        self._next: dict[int, int] = {}
        # The first offset that was read of each partition since its assignment.
        self._first: dict[int, int] = {}
        self._gaps: dict[TopicPartition, tuple[int, int]] = {}
        self._all_committed = asyncio.Event()
        self._all_committed.set()

    async def read(self, limit: int, timeout: float) -> Sequence[Record]:
        """Return the next records; empty on a timeout (seconds)."""
        with client.translate_errors():
            inner = await self._ready()
            try:
                records = await self._fetch(inner, limit, timeout)
                self._check_silence(inner, records)
            except (KafkaError, ConsumerStoppedError):
                await self.close()
                raise
        if records:
            if not self._next:
                self._on_rebalance()
            next_offset = {record.partition: record.offset + 1 for record in records}
            self._uncommitted.update(next_offset)
            self._next.update(next_offset)
            self._first = {r.partition: r.offset for r in reversed(records)} | self._first
            self._all_committed.clear()
        return records

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit, except for revoked partitions, whose new owner reads the records again.

        A partition that was revoked and is back may have been committed further by another member.
        """
        mine = {p: offset for p, offset in offsets.items() if self._may_commit(p, offset)}
        if self._inner is None or not mine:
            return
        if self._waiters is not None:
            # Kafka takes some milliseconds for a commit, and those who wait some to see it.
            self._waiters.answer(mine)
        with client.translate_errors():
            try:
                async with asyncio.timeout(_COMMIT_SECONDS):
                    await self._inner.commit(
                        {TopicPartition(self._topic, p): o for p, o in mine.items()}
                    )
            except (CommitFailedError, IllegalStateError):
                log.info(
                    "partitions were revoked before their commit: their records are read again"
                )
        self._release(mine)

    def partitions(self) -> Collection[int]:
        """Return the assigned partitions."""
        return {one.partition for one in self._inner.assignment()} if self._inner else set()

    def share(self) -> float:
        """Return the part of the topic's partitions that is assigned.

        It is 1 during a rebalance, for which the other members wait, and while announcements of
        those who wait cannot be heard.
        """
        return self._share if self._waiters and self._waiters.hears else 1.0

    def lag(self) -> Mapping[int, int]:
        """Return the number of records left of each partition read since its assignment."""
        inner = self._inner
        if inner is None:
            return {}
        ends = {one.partition: inner.highwater(one) or 0 for one in inner.assignment()}
        return {
            p: max(0, ends[p] - next_offset) for p, next_offset in self._next.items() if p in ends
        }

    def awaited(self) -> Mapping[int, int]:
        """Return the offsets that others have announced to wait for."""
        return self._waiters.awaited() if self._waiters else {}

    async def close(self) -> None:
        """Leave the group."""
        inner, self._inner = self._inner, None
        self._release(dict(self._uncommitted))
        if inner is not None:
            await client.stop(inner)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002  # eager rebalancing revokes all
        """Wait for the commit of the current batch before another member may read it."""
        self._share = 1.0
        with suppress(TimeoutError):
            async with asyncio.timeout(_REVOKE_SECONDS):
                await self._all_committed.wait()
        self._release(dict(self._uncommitted))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Reset the offsets, count the share and log the new assignment."""
        known = self._inner.partitions_for_topic(self._topic) if self._inner else None
        self._share = len(assigned) / len(known) if assigned and known else 1.0
        self._heard = time.monotonic()
        self._next.clear()
        self._first.clear()
        numbers = ", ".join(str(partition.partition) for partition in sorted(assigned))
        log.info("reading partitions of %s: %s", self._topic, numbers or "none")

    def _may_commit(self, partition: int, next_offset: int) -> bool:
        if next_offset <= self._first.get(partition, -1):
            return False
        return next_offset <= self._uncommitted.get(partition, -1)

    def _release(self, offsets: Mapping[int, int]) -> None:
        for partition, next_offset in offsets.items():
            if self._uncommitted.get(partition) == next_offset:
                del self._uncommitted[partition]
        if not self._uncommitted:
            self._all_committed.set()

    async def _ready(self) -> AIOKafkaConsumer:
        if self._inner is None:
            inner = AIOKafkaConsumer(
                **self._client,
                group_id=self._group,
                enable_auto_commit=False,
                # Without a valid offset, reads raise: deleted records are counted, not skipped.
                auto_offset_reset="none",
                fetch_max_bytes=READ_BYTES,
                max_partition_fetch_bytes=MAX_EVENT,
                # Heartbeats show that the process lives; the interval of reads does not.
                max_poll_interval_ms=_NEVER_MS,
                metadata_max_age_ms=_METADATA_MS,
                session_timeout_ms=int(self._session * 1000),
                heartbeat_interval_ms=int(self._session * 1000 / 3),
                rebalance_timeout_ms=int(_REBALANCE_SECONDS * 1000),
            )
            await client.start(inner)
            inner.subscribe([self._topic], listener=self)
            self._heard = time.monotonic()
            self._inner = inner
        return self._inner

    async def _fetch(self, inner: AIOKafkaConsumer, limit: int, timeout: float) -> list[Record]:
        records: list[Record] = []
        size, largest = 0, 0
        # During a rebalance aiokafka waits for its end, beyond its own timeout. It takes records in
        # its last step, so the deadline has to meet its coroutine: a task around it could end with
        # records that nobody reads any more.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout) as deadline:
                while len(records) < limit and size < READ_BYTES:
                    fitting = max(1, (READ_BYTES - size) // (largest or MAX_EVENT))
                    step = min(limit - len(records), fitting, _STEP_RECORDS)
                    wait = 0 if records else int(timeout * 1000)
                    with self._end_when_heard(deadline) if wait else nullcontext():
                        found = await self._getmany(inner, wait, step)
                    if not found:
                        break
                    more = [as_record(record) for batch in found.values() for record in batch]
                    sizes = [len(record.value) for record in more]
                    size, largest = size + sum(sizes), max(largest, *sizes)
                    records += more
        return records

    @contextmanager
    def _end_when_heard(self, deadline: asyncio.Timeout) -> Iterator[None]:
        """Move the deadline to now once somebody announces to wait for a commit."""
        if self._waiters is None:
            yield
            return
        self._waiters.on_heard = partial(_expire, deadline)
        try:
            yield
        finally:
            self._waiters.on_heard = None

    async def _getmany(self, inner: AIOKafkaConsumer, wait: int, limit: int) -> _Fetched:
        """Return fetched records; a partition without a valid offset goes to its oldest record."""
        while True:
            try:
                return await inner.getmany(timeout_ms=wait, max_records=limit)
            except NoOffsetForPartitionError as error:
                [partition] = error.args
                inner.seek(partition, await _beginning(inner, partition))
            except OffsetOutOfRangeError as error:
                [(partition, offset)] = error.args[0].items()
                beginning = await _beginning(inner, partition)
                if self._gaps.get(partition) != (offset, beginning):
                    self._gaps[partition] = offset, beginning
                    _report_gap(partition, offset, beginning)
                inner.seek(partition, beginning)

    def _check_silence(self, inner: AIOKafkaConsumer, records: Sequence[Record]) -> None:
        """Fail a client without answers: aiokafka raises nothing when its fetcher ends.

        Raises:
            KafkaConnectionError: No broker answered for _SILENCE_SECONDS.
        """
        polls = {one: inner.last_poll_timestamp(one) for one in inner.assignment()}
        # aiokafka stamps polls with the wall clock, which may be set back or forward.
        if records or not polls or polls != self._polls:
            self._heard = time.monotonic()
        self._polls = polls
        if time.monotonic() - self._heard > _SILENCE_SECONDS:
            raise KafkaConnectionError(f"no answer for {_SILENCE_SECONDS:.0f} seconds")


def _expire(deadline: asyncio.Timeout) -> None:
    if not deadline.expired():
        deadline.reschedule(asyncio.get_running_loop().time())


async def _beginning(inner: AIOKafkaConsumer, partition: TopicPartition) -> int:
    return int((await inner.beginning_offsets([partition]))[partition])


def _report_gap(partition: TopicPartition, offset: int, beginning: int) -> None:
    """Log why a group's offset is not in a partition, and count the records that it missed."""
    topic, number = partition
    if beginning <= offset:
        log.error(
            "partition %d of %s ends before offset %d, the group's next one: the topic was created "
            "anew, and is read from offset %d",
            *(number, topic, offset, beginning),
        )
        return
    RECORDS_LOST.labels(str(number)).inc(beginning - offset)
    log.error(
        "LOST: Kafka deleted %d records of partition %d of %s, offsets %d to %d, before they were "
        "read: raise the topic's retention, or add processors",
        *(beginning - offset, number, topic, offset, beginning - 1),
    )


def as_record(raw: ConsumerRecord[bytes, bytes]) -> Record:
    """Convert aiokafka's record to the log's."""
    return Record(
        raw.partition,
        raw.offset,
        client.decode(raw.key),
        raw.value or b"",
        tuple((name, client.decode(value)) for name, value in raw.headers) if raw.headers else (),
        raw.timestamp,
    )

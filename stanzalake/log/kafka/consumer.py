"""The consumer on Kafka: a member of a group, which shares the topic's partitions."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
)
from aiokafka.structs import ConsumerRecord

from stanzalake.log.base import READ_BYTES, Record
from stanzalake.log.kafka import client
from stanzalake.model.event import MAX_EVENT

SESSION_SECONDS = 10.0

_COMMIT_SECONDS = 10.0
_REVOKE_SECONDS = 10.0
_REBALANCE_SECONDS = 30.0
_SILENCE_SECONDS = 60.0
_NEVER_MS = 2**31 - 1
_AT_ONCE = 64
"""Records in one step of a read: what bounds its bytes if large ones follow small ones."""

log = logging.getLogger(__name__)


class KafkaConsumer(ConsumerRebalanceListener):
    """Reads one topic of a KafkaLog for one group.

    Its place in the group does not depend on how often it is read: while the store is away
    nobody reads, and the partitions stay where they are. An inner client that fails is replaced
    at the next read.

    Args:
        client: Arguments of aiokafka's clients.
        topic: The topic's full name.
        group: The group's full name.
        session: Seconds after which a member that died is missed.
        on_rebalance: Called before the first records of a new assignment are given.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        topic: str,
        group: str,
        session: float = SESSION_SECONDS,
        on_rebalance: Callable[[], None] | None = None,
    ) -> None:
        self._client = client
        self._topic = topic
        self._group = group
        self._session = session
        self._on_rebalance = on_rebalance or (lambda: None)
        self._inner: AIOKafkaConsumer | None = None
        self._heard = 0.0
        # The next offset of each partition whose records were read and not committed yet. It is
        # emptied when partitions move: what is not in it is not this member's to commit.
        self._in_hand: dict[int, int] = {}
        self._next: dict[int, int] = {}
        self._wait_committed = asyncio.Event()
        self._wait_committed.set()

    async def read(self, limit: int, timeout: float) -> Sequence[Record]:
        """Give the next records; empty if none came within so many seconds."""
        with client.translated():
            inner = await self._ready()
            try:
                records = await self._take(inner, limit, timeout)
                self._listen(inner, records)
            except (KafkaError, ConsumerStoppedError):
                await self.close()
                raise
        if records:
            if not self._next:
                self._on_rebalance()
            next_offset = {record.partition: record.offset + 1 for record in records}
            self._in_hand.update(next_offset)
            self._next.update(next_offset)
            self._wait_committed.clear()
        return records

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit, except for partitions that moved away: their new owner reads those again."""
        mine = {p: next_offset for p, next_offset in offsets.items() if self._may(p, next_offset)}
        if self._inner is None or not mine:
            return
        with client.translated():
            try:
                async with asyncio.timeout(_COMMIT_SECONDS):
                    await self._inner.commit(
                        {TopicPartition(self._topic, p): o for p, o in mine.items()}
                    )
            except (CommitFailedError, IllegalStateError):
                log.info("partitions moved before their commit: their records are read again")
        self._release(mine)

    def lag(self) -> Mapping[int, int]:
        """Give how many records are left of each partition that was read since it is ours."""
        inner = self._inner
        if inner is None:
            return {}
        ends = {one.partition: inner.highwater(one) or 0 for one in inner.assignment()}
        return {
            p: max(0, ends[p] - next_offset) for p, next_offset in self._next.items() if p in ends
        }

    async def close(self) -> None:
        """Leave the group."""
        inner, self._inner = self._inner, None
        self._release(dict(self._in_hand))
        if inner is not None:
            await client.stop(inner)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002  # all are, in this protocol
        """Give the batch in hand some time to be settled, before others may read it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_REVOKE_SECONDS):
                await self._wait_committed.wait()
        self._release(dict(self._in_hand))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Say what is read from now on."""
        self._heard = time.time()
        self._next.clear()
        numbers = ", ".join(str(partition.partition) for partition in sorted(assigned))
        log.info("reading partitions of %s: %s", self._topic, numbers or "none")

    def _may(self, partition: int, next_offset: int) -> bool:
        return next_offset <= self._in_hand.get(partition, -1)

    def _release(self, offsets: Mapping[int, int]) -> None:
        for partition, next_offset in offsets.items():
            if self._in_hand.get(partition) == next_offset:
                del self._in_hand[partition]
        if not self._in_hand:
            self._wait_committed.set()

    async def _ready(self) -> AIOKafkaConsumer:
        if self._inner is None:
            inner = AIOKafkaConsumer(
                **self._client,
                group_id=self._group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_bytes=READ_BYTES,
                max_partition_fetch_bytes=MAX_EVENT,
                # Heartbeats show that the process lives; how often it reads says nothing.
                max_poll_interval_ms=_NEVER_MS,
                session_timeout_ms=int(self._session * 1000),
                heartbeat_interval_ms=int(self._session * 1000 / 3),
                rebalance_timeout_ms=int(_REBALANCE_SECONDS * 1000),
            )
            await client.start(inner)
            inner.subscribe([self._topic], listener=self)
            self._heard = time.time()
            self._inner = inner
        return self._inner

    async def _take(self, inner: AIOKafkaConsumer, limit: int, timeout: float) -> list[Record]:
        records: list[Record] = []
        size, largest = 0, 0
        # While partitions move, aiokafka waits for the end of it, whatever its own timeout.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while len(records) < limit and size < READ_BYTES:
                    fitting = max(1, (READ_BYTES - size) // (largest or MAX_EVENT))
                    most = min(limit - len(records), fitting, _AT_ONCE)
                    wait = 0 if records else int(timeout * 1000)
                    found = await inner.getmany(timeout_ms=wait, max_records=most)
                    if not found:
                        break
                    more = [as_record(one) for taken in found.values() for one in taken]
                    sizes = [len(record.value) for record in more]
                    size, largest = size + sum(sizes), max(largest, *sizes)
                    records += more
        return records

    def _listen(self, inner: AIOKafkaConsumer, records: Sequence[Record]) -> None:
        """Notice a client that went silent: aiokafka raises nothing if its fetching ended."""
        polls = [inner.last_poll_timestamp(partition) or 0 for partition in inner.assignment()]
        if records or not polls:
            self._heard = time.time()
        self._heard = max(self._heard, max(polls, default=0) / 1000)
        if time.time() - self._heard > _SILENCE_SECONDS:
            raise KafkaConnectionError(f"no answer for {_SILENCE_SECONDS:.0f} seconds")


def as_record(given: ConsumerRecord[bytes, bytes]) -> Record:
    """Give a record of Kafka as the log's own."""
    return Record(
        given.partition,
        given.offset,
        _text(given.key),
        given.value or b"",
        tuple((name, _text(value)) for name, value in given.headers) if given.headers else (),
        given.timestamp,
    )


def _text(raw: bytes | None) -> str:
    """Anybody may write to the topic: bytes that are no UTF-8 come back as they were."""
    return (raw or b"").decode(errors="surrogateescape")

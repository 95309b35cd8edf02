"""The log on Apache Kafka, for any number of processes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import DuplicateSequenceNumber, KafkaError
from aiokafka.structs import RecordMetadata

from stanzalake.log.base import AWAITED, EVENTS, PROCESSOR_GROUP, Entry, Record
from stanzalake.log.kafka import client
from stanzalake.log.kafka.awaited import WRITTEN, Announcer, Listener, Waiters
from stanzalake.log.kafka.commits import CommitWatch
from stanzalake.log.kafka.consumer import SESSION_SECONDS, KafkaConsumer, as_record
from stanzalake.log.kafka.shared import SharedClient
from stanzalake.log.kafka.topics import MAX_REQUEST, Topics
from stanzalake.log.watermarks import NO_WATERMARKS, Watermarks

_APPEND_SECONDS = 10.0
_BATCH_BYTES = 512 * 1024
_LOOK_SECONDS = 1.0
_SILENCE_SECONDS = 10.0
_UNKNOWN_OFFSET = -1


class KafkaLog:
    """A log of topics in Kafka, created by `open`.

    Args:
        client: Connection arguments of aiokafka's clients.
        prefix: Prefix of topic and group names.
        session: Seconds until a group expels a silent consumer.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        prefix: str,
        session: float = SESSION_SECONDS,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._session = session
        self._producer = SharedClient(self._make_producer)
        self._watches: dict[tuple[str, str], CommitWatch] = {}
        self._consumers: list[KafkaConsumer] = []
        self._announcer = Announcer(client, prefix + AWAITED)
        self._listeners: list[Listener | Waiters] = []

    @classmethod
    async def open(
        cls, client: Mapping[str, Any], topics: Topics, session: float = SESSION_SECONDS
    ) -> "KafkaLog":
        """Connect, and create missing topics.

        Raises:
            LogUnavailable: Kafka does not answer.
            LogRefused: The topics cannot be created or used.
        """
        await topics.ensure(client)
        return cls(client, topics.prefix, session)

    async def append(self, topic: str, entries: Sequence[Entry]) -> Watermarks:
        """Append entries and return once all in-sync replicas have them (``acks=all``)."""
        if not entries:
            return {}
        with client.translate_errors():
            async with asyncio.timeout(_APPEND_SECONDS):
                producer = await self._producer.get()
                try:
                    return _watermarks(await _send(producer, self._prefix + topic, entries))
                except KafkaError:
                    # A failed batch leaves a gap in the producer's sequence, which brokers refuse.
                    if self._producer.forget(producer):
                        await client.stop(producer)
                    raise

    async def consumer(
        self, topic: str, group: str, on_rebalance: Callable[[], None] | None = None
    ) -> KafkaConsumer:
        """Open a consumer at the group's last commit, else at the oldest record."""
        waiters = None
        if (topic, group) == (EVENTS, PROCESSOR_GROUP):
            waiters = Waiters(self._client, self._prefix + AWAITED)
            self._listeners.append(waiters)
        consumer = KafkaConsumer(
            self._client,
            self._prefix + topic,
            self._prefix + group,
            self._session,
            on_rebalance,
            waiters,
        )
        self._consumers.append(consumer)
        return consumer

    async def wait_committed(
        self, topic: str, group: str, key: str, timeout: float, up_to: Watermarks = NO_WATERMARKS
    ) -> bool:
        """Wait until the group has committed everything appended before this call.

        A partition without uncommitted records costs two small concurrent requests, shared by the
        callers that wait for the partition at the same time.
        """
        watch = self._watches.get((topic, group)) or self._watch(topic, group)
        return await watch.wait(key, timeout, up_to)

    def _watch(self, topic: str, group: str) -> CommitWatch:
        is_heard = (topic, group) == (EVENTS, PROCESSOR_GROUP)
        watch = CommitWatch(
            self._client,
            self._prefix + topic,
            self._prefix + group,
            self._announcer.announce if is_heard else None,
        )
        self._watches[topic, group] = watch
        if is_heard:
            answers = self._prefix + AWAITED
            self._listeners.append(Listener(self._client, answers, WRITTEN, watch.note_written))
        return watch

    async def scan(self, topic: str) -> AsyncGenerator[Record, None]:
        """Iterate over the records that a topic holds now."""
        async with self._reader(topic) as reader:
            async for record in _all(reader):
                yield record

    async def follow(self, topic: str) -> AsyncGenerator[Record, None]:
        """Iterate over the records that a topic holds now, then over those that are appended."""
        async with self._reader(topic) as reader:
            async for record in reader:
                yield as_record(record)

    @asynccontextmanager
    async def _reader(self, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
        """Open a reader of a whole topic, in no group."""
        with client.translate_errors():
            reader = AIOKafkaConsumer(
                self._prefix + topic, **self._client, group_id=None, auto_offset_reset="earliest"
            )
            await client.start(reader)
            try:
                yield reader
            finally:
                await client.stop(reader)

    async def close(self) -> None:
        """Close every connection; open consumers leave their groups."""
        # At once: while brokers are away each takes seconds.
        await asyncio.gather(
            *(consumer.close() for consumer in self._consumers),
            *(listener.close() for listener in self._listeners),
            *(watch.close() for watch in self._watches.values()),
            self._announcer.close(),
            self._producer.close(),
        )

    def _make_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **self._client,
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            max_batch_size=_BATCH_BYTES,
            max_request_size=MAX_REQUEST,
        )


async def _send(
    producer: AIOKafkaProducer, topic: str, entries: Sequence[Entry]
) -> list[RecordMetadata]:
    sent: list[asyncio.Future[RecordMetadata]] = []
    try:
        for key, value, headers in entries:
            raw = [(name, client.encode(text)) for name, text in headers]
            sent.append(await producer.send(topic, value, client.encode(key), headers=raw))
        return await asyncio.gather(*sent)
    finally:
        for one in sent:
            one.cancel()


def _watermarks(sent: Sequence[RecordMetadata]) -> Watermarks:
    """Return the offset after the last record of each partition.

    Raises:
        DuplicateSequenceNumber: A resent batch whose offsets the broker no longer knows.
    """
    if any(one.log_start_offset == _UNKNOWN_OFFSET for one in sent):
        raise DuplicateSequenceNumber
    return {one.partition: one.offset + 1 for one in sorted(sent, key=lambda one: one.offset)}


async def _all(reader: AIOKafkaConsumer) -> AsyncGenerator[Record, None]:
    """Iterate from the reader's positions to the ends that the partitions have now."""
    ends = await reader.end_offsets(list(reader.assignment()))
    clock = asyncio.get_running_loop().time
    last_answer = clock()
    while unread := await _unread(reader, ends):
        found = await reader.getmany(*unread, timeout_ms=int(_LOOK_SECONDS * 1000))
        if found:
            last_answer = clock()
        elif clock() - last_answer > _SILENCE_SECONDS:
            raise TimeoutError
        for partition, records in found.items():
            for record in records:
                if record.offset < ends[partition]:
                    yield as_record(record)


async def _unread(
    reader: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]
) -> list[TopicPartition]:
    async with asyncio.timeout(_SILENCE_SECONDS):
        return [one for one, end in ends.items() if await reader.position(one) < end]

"""Awaited offsets: query services tell processors which commits they wait for, over a topic.

A record's value has watermarks, as `stanzalake.log.watermarks` writes them: the awaited offset of
a partition. If a record is lost, its writer waits until the batch ends by itself.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from stanzalake.errors import StanzalakeError
from stanzalake.log import watermarks
from stanzalake.log.kafka import client as kafka
from stanzalake.observability.log_once import LogOnce

_PAUSE = 5.0
"""Seconds after a failure before the next attempt."""
_PER_SECOND = 5.0
_BURST = 10.0
"""Signals that are heeded in a row; more of them would make a part in the store for each."""
_LASTING = 60.0
"""Seconds for which an offset is awaited. Nobody waits so long, and a topic that was created anew
begins at 0: an offset of the former one would end every batch until the new one has reached it."""


class Announcer:
    """Announces awaited offsets, without waiting for Kafka's answer.

    Args:
        client: Connection arguments of aiokafka's clients.
        topic: The topic's full name.
    """

    def __init__(self, client: Mapping[str, Any], topic: str) -> None:
        self._client = client
        self._topic = topic
        self._wanted: dict[int, int] = {}
        self._added = asyncio.Event()
        self._trouble = LogOnce(__name__)
        self._task: asyncio.Task[None] | None = None

    def announce(self, partition: int, offset: int) -> None:
        """Announce that somebody waits for the commit of an offset."""
        self._wanted[partition] = max(offset, self._wanted.get(partition, 0))
        self._added.set()
        if self._task is None:
            self._task = asyncio.create_task(_repeat(self._send_all, self._trouble))

    async def close(self) -> None:
        """Drop unsent announcements, and disconnect."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _send_all(self) -> None:
        producer = AIOKafkaProducer(**self._client, acks=1)
        await kafka.start(producer)
        try:
            while True:
                await self._added.wait()
                self._added.clear()
                wanted, self._wanted = self._wanted, {}
                await producer.send_and_wait(self._topic, watermarks.write(wanted).encode())
                self._trouble.end()
        finally:
            await kafka.stop(producer)


class AwaitedOffsets:
    """The awaited offset of each partition, for a minute.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._awaited: dict[int, tuple[int, float]] = {}

    def add(self, offsets: Mapping[int, int]) -> None:
        """Add awaited offsets, unless a higher one of the partition is awaited."""
        now, current = self._clock(), self.read()
        for partition, offset in offsets.items():
            if offset >= current.get(partition, 0):
                self._awaited[partition] = (offset, now + _LASTING)

    def read(self) -> Mapping[int, int]:
        """Return the offsets that are awaited now, by partition."""
        now = self._clock()
        return {p: offset for p, (offset, end) in self._awaited.items() if now < end}


class Listener:
    """Reads the announcements of awaited offsets, from now on.

    Args:
        client: Connection arguments of aiokafka's clients.
        topic: The topic's full name.

    Attributes:
        awaited: The awaited offset of each partition.
        on_heard: Called by each announcement.
    """

    def __init__(self, client: Mapping[str, Any], topic: str) -> None:
        self._client = client
        self._topic = topic
        self._trouble = LogOnce(__name__)
        self._tokens, self._at = _BURST, time.monotonic()
        self.awaited = AwaitedOffsets()
        self.on_heard: Callable[[], None] | None = None
        self._task = asyncio.create_task(_repeat(self._listen, self._trouble))

    async def close(self) -> None:
        """Disconnect."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _listen(self) -> None:
        reader = AIOKafkaConsumer(
            self._topic, **self._client, group_id=None, auto_offset_reset="latest"
        )
        await kafka.start(reader)
        try:
            async for record in reader:
                self._trouble.end()
                self._heed(record.value or b"")
        finally:
            await kafka.stop(reader)

    def _heed(self, value: bytes) -> None:
        with suppress(ValueError):
            wanted = watermarks.read(value.decode())
            if not self._may_heed():
                return
            self.awaited.add(wanted)
            if self.on_heard is not None:
                self.on_heard()

    def _may_heed(self) -> bool:
        now = time.monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._at) * _PER_SECOND)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


async def _repeat(work: Callable[[], Awaitable[None]], trouble: LogOnce) -> None:
    """Begin again a while after each failure."""
    while True:
        try:
            with kafka.translate_errors():
                await work()
        except StanzalakeError as error:
            trouble.begin(f"pages wait longer for messages that just came: {error}")
        await asyncio.sleep(_PAUSE)

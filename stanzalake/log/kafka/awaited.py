"""Awaited offsets: query services tell processors which commits they wait for, over a topic.

A record's value has watermarks, as `stanzalake.log.watermarks` writes them. Without a key they are
awaited offsets; with the key `WRITTEN` they are a processor's answer: everything before them is in
the store, and about to be committed. If a record is lost, pages wait until the batch ends by
itself, or until they see its commit.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from stanzalake.errors import StanzalakeError
from stanzalake.log import watermarks
from stanzalake.log.kafka import client as kafka
from stanzalake.log.pace import Pace
from stanzalake.observability.log_once import LogOnce

WRITTEN = b"written"
"""Key of the records by which processors answer."""

_PAUSE = 5.0
"""Seconds after a failure before the next attempt."""
_PER_SECOND = 5.0
"""Times that a processor of all partitions heeds announcements: each makes a part in the store."""
_LEAST_PER_SECOND = 1.0
"""The same of a small share, so that nobody waits for longer than a second."""
_BURST = 10.0
"""Times in a row, after a quiet time."""
_LASTING = 60.0
"""Seconds for which an offset is awaited. Nobody waits so long, and a topic that was created anew
begins at 0: an offset of the former one would end every batch until the new one has reached it."""
_MAX_PARTITIONS = 10_000
"""Partitions of which offsets are awaited at most: a record may name any number of others."""


class Announcer:
    """Announces offsets, without waiting for Kafka's answer.

    Args:
        client: Connection arguments of aiokafka's clients.
        topic: The topic's full name.
        key: Key of the records.
    """

    def __init__(self, client: Mapping[str, Any], topic: str, key: bytes | None = None) -> None:
        self._client = client
        self._topic = topic
        self._key = key
        self._wanted: dict[int, int] = {}
        self._added = asyncio.Event()
        self._trouble = LogOnce(__name__)
        self._task: asyncio.Task[None] | None = None

    def announce(self, partition: int, offset: int) -> None:
        """Announce an offset of a partition, or a higher one."""
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
                value = watermarks.write(wanted).encode()
                await producer.send_and_wait(self._topic, value, self._key)
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
        current = self.read()
        self._awaited = {p: self._awaited[p] for p in current}
        end = self._clock() + _LASTING
        for partition, offset in offsets.items():
            has_room = partition in current or len(self._awaited) < _MAX_PARTITIONS
            if has_room and offset >= current.get(partition, 0):
                self._awaited[partition] = (offset, end)

    def read(self) -> Mapping[int, int]:
        """Return the offsets that are awaited now, by partition."""
        now = self._clock()
        return {p: offset for p, (offset, end) in self._awaited.items() if now < end}

    def settle(self, offsets: Mapping[int, int]) -> Mapping[int, int]:
        """Return those offsets whose partitions are awaited, and remove the reached ones."""
        current = self.read()
        for partition, offset in offsets.items():
            if current.get(partition, offset + 1) <= offset:
                del self._awaited[partition]
        return {p: offset for p, offset in offsets.items() if p in current}


class Listener:
    """Reads the announcements under a key, from now on.

    Args:
        client: Connection arguments of aiokafka's clients.
        topic: The topic's full name.
        key: Key of the records.
        heed: Gets the offset of each announced partition.

    Attributes:
        hears: Whether it is connected.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        topic: str,
        key: bytes | None,
        heed: Callable[[Mapping[int, int]], None],
    ) -> None:
        self._client = client
        self._topic = topic
        self._key = key
        self._heed = heed
        self._trouble = LogOnce(__name__)
        self.hears = False
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
        self.hears = True
        try:
            async for record in reader:
                self._trouble.end()
                if record.key == self._key:
                    with suppress(ValueError):
                        self._heed(watermarks.read((record.value or b"").decode()))
        finally:
            self.hears = False
            await kafka.stop(reader)


class Waiters:
    """Those who wait for the commits of a processor, which hears of them and answers them.

    Announcements that come too fast are heeded together: a fifth of a second later, or a second if
    there are five processors or more, all of which would insert for each. Those for other
    processors are kept for when a rebalance brings their partitions.

    Args:
        client: Connection arguments of aiokafka's clients.
        topic: The topic's full name.
        clock: Monotonic time in seconds.

    Attributes:
        on_heard: Called when an announcement is heeded at once.
        partitions: Gives the processor's partitions.
        share: Gives their part of all partitions.
    """

    def __init__(
        self, client: Mapping[str, Any], topic: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._pace = Pace(self._interval, clock, _BURST)
        self._heeded = AwaitedOffsets(clock)
        self._postponed = AwaitedOffsets(clock)
        self.on_heard: Callable[[], None] | None = None
        self.partitions: Callable[[], Collection[int]] = tuple
        self.share: Callable[[], float] = lambda: 1.0
        self._announcer = Announcer(client, topic, WRITTEN)
        self._listener = Listener(client, topic, None, self._heed)

    @property
    def hears(self) -> bool:
        """Whether announcements arrive."""
        return self._listener.hears

    def awaited(self) -> Mapping[int, int]:
        """Return the awaited offset of each partition."""
        self._heed_postponed()
        return self._heeded.read()

    def answer(self, offsets: Mapping[int, int]) -> None:
        """Tell those who wait that everything before the offsets is in the store."""
        settled = {**self._heeded.settle(offsets), **self._postponed.settle(offsets)}
        for partition, offset in settled.items():
            self._announcer.announce(partition, offset)

    async def close(self) -> None:
        """Disconnect."""
        await asyncio.gather(self._listener.close(), self._announcer.close())

    def _heed(self, offsets: Mapping[int, int]) -> None:
        self._postponed.add(offsets)
        if self._heed_postponed() and self.on_heard is not None:
            self.on_heard()

    def _heed_postponed(self) -> bool:
        """Heed what was announced, if this processor reads some of it, and heeded little lately."""
        postponed = self._postponed.read()
        if not postponed.keys() & set(self.partitions()) or self._pace.wait():
            return False
        self._pace.count()
        self._heeded.add(postponed)
        self._postponed = AwaitedOffsets(self._clock)
        return True

    def _interval(self) -> float:
        """Return the seconds between heeded announcements, by the processor's present share."""
        return 1 / max(_LEAST_PER_SECOND, _PER_SECOND * self.share())


async def _repeat(work: Callable[[], Awaitable[None]], trouble: LogOnce) -> None:
    """Begin again a while after each failure."""
    while True:
        try:
            with kafka.translate_errors():
                await work()
        except StanzalakeError as error:
            trouble.begin(f"pages wait longer for messages that just came: {error}")
        await asyncio.sleep(_PAUSE)

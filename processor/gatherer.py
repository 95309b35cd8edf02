"""The gatherer: collects records from the log into batches."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from processor.retry import Retry, Stopped
from stanzalake.log.base import READ_BYTES, Consumer, Record
from stanzalake.log.pace import Pace

_IDLE_SECONDS = 1.0
_LAST_SECONDS = 0.1
"""For the read that a stop interrupts: what the log has comes at once."""
_BURST = 5.0
"""Batches that may follow each other without a pause after a quiet time."""
_PACE = 1.15
"""Intervals for a batch on average: gathering, the wait for a first record, and a write."""
_LONGEST_SECONDS = 2.5
"""Up to which processors gather for longer as they are more: half the time that a page waits by
default, if nobody hears that it does."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a batch, and of dead letters.

    Attributes:
        rows: Records in a batch.
        seconds: Age of a batch's first record, and the average time between batches, unless more
            of them are full or awaited: then the others grow up to twice as old. All of it is for
            a consumer of all partitions.
        rejected: Consecutive dead letters that stop the worker; 0 for no limit.
    """

    rows: int
    seconds: float
    rejected: int = 0


@dataclass(slots=True)
class _Gathered:
    """Records of a batch so far.

    Attributes:
        since: Time of the loop at which the batch began.
        records: The records.
        size: Bytes of their values.
        first: Lowest offset of each partition.
    """

    since: float
    records: list[Record] = field(default_factory=list)
    size: int = 0
    first: dict[int, int] = field(default_factory=dict)

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            self.records.append(record)
            self.size += len(record.value)
            self.first.setdefault(record.partition, record.offset)


class Gatherer:
    """Collects batches of records, bounded in rows, bytes and age.

    A batch ends early if somebody waits for one of its records, or if there are no more records
    for now and few batches have been made lately. A consumer of some of the partitions gathers for
    longer, so that all consumers together make as many batches as one would.

    Args:
        consumer: Source of records.
        limits: Limits of a batch.
        retry: Repeats failed reads.
        stop: Set to end a batch early.
    """

    def __init__(
        self, consumer: Consumer, limits: Limits, retry: Retry, stop: asyncio.Event
    ) -> None:
        self._consumer = consumer
        self._limits = limits
        self._retry = retry
        self._stop = stop
        self._clock = asyncio.get_running_loop().time
        self._pace = Pace(lambda: _PACE * self._interval(), self._clock, _BURST)

    async def gather(self) -> tuple[list[Record], str]:
        """Return a batch and the cause of its end: rows, bytes, age, awaited, quiet or stop.

        The batch is empty if no record arrives within a second, or until `stop` is set.
        """
        first = await self._read(self._limits.rows, _IDLE_SECONDS)
        batch = _Gathered(self._clock())
        batch.add(first)
        while batch.records and not self._stop.is_set():
            cause = self._cause(batch)
            if cause:
                self._pace.count()
                return batch.records, cause
            limit = self._limits.rows - len(batch.records)
            batch.add(await self._read(limit, self._timeout(batch)))
        return batch.records, "stop"

    async def read_late(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return what there is to read behind a batch, without waiting for more."""
        room = self._limits.rows - len(records)
        is_full = room <= 0 or sum(len(record.value) for record in records) >= READ_BYTES
        return () if is_full else await self._read(room, 0)

    def _cause(self, batch: _Gathered) -> str:
        """Return the cause that ends a batch now; empty for none."""
        if len(batch.records) >= self._limits.rows:
            return "rows"
        if batch.size >= READ_BYTES:
            return "bytes"
        if self._deadline(batch) <= self._clock():
            return "age"
        if self._is_awaited(batch):
            return "awaited"
        if not any(self._consumer.lag().values()) and not self._pace.wait():
            return "quiet"
        return ""

    def _interval(self) -> float:
        """Return the seconds between batches, by the consumer's present share."""
        seconds = self._limits.seconds
        return max(seconds, min(seconds / self._consumer.share(), _LONGEST_SECONDS))

    def _deadline(self, batch: _Gathered) -> float:
        """Return the time of the loop at which a batch is old.

        It grows older where batches ended early, up to a limit, as there are to be no more of them.
        """
        interval, now = self._interval(), self._clock()
        oldest = batch.since + min(2 * interval, max(interval, _LONGEST_SECONDS))
        return max(batch.since + interval, min(now + self._pace.wait(), oldest))

    def _timeout(self, batch: _Gathered) -> float:
        # The share may grow during a read.
        return min(self._deadline(batch) - self._clock(), self._limits.seconds, _IDLE_SECONDS)

    def _is_awaited(self, batch: _Gathered) -> bool:
        awaited = self._consumer.awaited()
        return any(awaited.get(partition, 0) > offset for partition, offset in batch.first.items())

    async def _read(self, limit: int, timeout: float) -> Sequence[Record]:
        call = partial(self._consumer.read, limit, timeout)
        reading = asyncio.ensure_future(self._retry.until_done(call))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return await asyncio.wait_for(reading, _LAST_SECONDS)
        except (Stopped, TimeoutError):
            return ()
        finally:
            reading.cancel()
            stopping.cancel()

"""The gatherer: collects records from the log into batches."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from processor.retry import Retry, Stopped
from stanzalake.log.base import READ_BYTES, Consumer, Record

_IDLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a batch, and of dead letters.

    Attributes:
        rows: Records in a batch.
        seconds: Age of a batch's first record.
        rejected: Consecutive dead letters that stop the worker; 0 for no limit.
    """

    rows: int
    seconds: float
    rejected: int = 0


class Gatherer:
    """Collects batches of records, bounded in rows, bytes and age.

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

    async def gather(self) -> tuple[list[Record], str]:
        """Return a batch and the limit that ended it: rows, bytes, age or stop.

        The batch is empty if no record arrives within a second.
        """
        records = list(await self._read(self._limits.rows, _IDLE_SECONDS))
        size = _size(records)
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        while records and not self._stop.is_set():
            left = deadline - asyncio.get_running_loop().time()
            reached = self._reached_limit(len(records), size, left)
            if reached:
                return records, reached
            timeout = min(left, _IDLE_SECONDS)
            more = await self._read(self._limits.rows - len(records), timeout)
            size += _size(more)
            records += more
        return records, "stop"

    def _reached_limit(self, rows: int, size: int, left: float) -> str:
        if rows >= self._limits.rows:
            return "rows"
        if size >= READ_BYTES:
            return "bytes"
        return "" if left > 0 else "age"

    async def _read(self, limit: int, timeout: float) -> Sequence[Record]:
        try:
            return await self._retry.until_done(partial(self._consumer.read, limit, timeout))
        except Stopped:
            return ()


def _size(records: Iterable[Record]) -> int:
    return sum(len(record.value) for record in records)

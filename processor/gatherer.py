"""The gatherer: reads the log until there is a batch of records."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from processor.retry import Retry
from stanzalake.log.base import READ_BYTES, Consumer, Record

_IDLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is full, and when the worker gives up.

    Attributes:
        rows: Records of a batch at most.
        seconds: Age of its first record at most.
        rejected: Records rejected in a row after which the worker ends; 0 is never.
    """

    rows: int
    seconds: float
    rejected: int = 0


class Gatherer:
    """Makes batches of what a consumer reads; bytes bound the memory.

    Args:
        consumer: Where records come from.
        limits: When a batch is full.
        retry: Waits for a log that is away.
    """

    def __init__(self, consumer: Consumer, limits: Limits, retry: Retry) -> None:
        self._consumer = consumer
        self._limits = limits
        self._retry = retry

    async def gather(self, stop: asyncio.Event) -> tuple[list[Record], str]:
        """Read until a batch is full, and say what filled it: rows, bytes, age or stop.

        There may be none, if nothing comes for a while.
        """
        records = list(await self._read(self._limits.rows, _IDLE_SECONDS, stop))
        size = _size(records)
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        while records and not stop.is_set():
            left = deadline - asyncio.get_running_loop().time()
            full = self._full(len(records), size, left)
            if full:
                return records, full
            timeout = min(left, _IDLE_SECONDS)
            more = await self._read(self._limits.rows - len(records), timeout, stop)
            size += _size(more)
            records += more
        return records, "stop"

    def _full(self, rows: int, size: int, left: float) -> str:
        if rows >= self._limits.rows:
            return "rows"
        if size >= READ_BYTES:
            return "bytes"
        return "" if left > 0 else "age"

    async def _read(self, limit: int, timeout: float, stop: asyncio.Event) -> Sequence[Record]:
        read = partial(self._consumer.read, limit, timeout)
        return await self._retry.until_done(read, stop) or ()


def _size(records: Iterable[Record]) -> int:
    return sum(len(record.value) for record in records)

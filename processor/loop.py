"""The loop: gathers records from the log, judges them, and settles batch after batch."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from processor import instrumentation
from processor.batch import Batch, Rules
from processor.breaker import Breaker
from processor.checkpoint import Checkpoint
from processor.cleaner import Cleaner
from processor.gatherer import Gatherer, Limits
from processor.judge import Judge
from processor.retry import Retry, Stopped
from processor.sink import Sink
from stanzalake.log.base import Consumer, Log, Record

T = TypeVar("T")
U = TypeVar("U")

_PART = "processor"
_FIRST_PARTITION = 0
_THREADS = 2
"""For judging and writing."""

_EARLY = frozenset({"awaited", "quiet"})
"""Causes of the end of small batches: others would be judged twice for a few records more."""


class _PendingBatch(NamedTuple):
    """A batch between gathering and commit.

    Attributes:
        records: Records in the order of reading.
        trigger: Limit that ended the gathering.
        batch: Output of the records.
    """

    records: Sequence[Record]
    trigger: str
    batch: Batch


class Loop:
    """Moves events from the log into the store.

    Args:
        log: Log for dead letters.
        consumer: Source of events.
        sink: Destination of batches; called in a thread.
        rules: Server-wide rules of archiving.
        limits: Limits of a batch, and of dead letters.
        cleaner: Runs beside the loop, which tells it of requests, and whether this worker reads
            the first partition.
        stop: Set to end the loop.
    """

    def __init__(  # noqa: PLR0913  # the parts of the loop
        self,
        log: Log,
        consumer: Consumer,
        sink: Sink,
        rules: Rules,
        *,
        limits: Limits,
        cleaner: Cleaner,
        stop: asyncio.Event,
    ) -> None:
        self._consumer = consumer
        self._sink = sink
        self._cleaner = cleaner
        self._stop = stop
        self._threads = ThreadPoolExecutor(_THREADS, "processor")
        self._retry = Retry(__name__, _PART, stop)
        self._gatherer = Gatherer(consumer, limits, self._retry, stop)
        self._judge = Judge(sink, rules, self._threads)
        self._checkpoint = Checkpoint(
            log,
            consumer,
            sink=sink,
            judge=self._judge,
            breaker=Breaker(limits.rejected),
            retry=self._retry,
            threads=self._threads,
        )
        self._gathered: list[float] = []
        instrumentation.track_pending(self._gathered)

    async def run(self) -> None:
        """Run until `stop` is set, then settle the pending batch if the store takes it.

        The next batch is gathered and judged while one is written, as most of a write is waiting
        for the store. Uncommitted records are read again by the next run, and give the same rows.

        Raises:
            StanzalakeError: An error that a retry does not help with; the batch is not committed.
        """
        pending: _PendingBatch | None = None
        try:
            while not self._stop.is_set():
                is_writing = pending is not None
                rejected, pending = await run_both(self._settle(pending), self._gather())
                if is_writing and pending:
                    pending = await self._complete(pending, rejected=rejected)
                self._observe_lag()
            await self._settle(pending)
        except Stopped:
            return
        finally:
            # The store is closed after this: no thread may still use it.
            await asyncio.to_thread(self._threads.shutdown)

    def _observe_lag(self) -> None:
        instrumentation.set_lag(self._consumer.lag())
        self._cleaner.regular = _FIRST_PARTITION in self._consumer.partitions()

    async def _gather(self) -> _PendingBatch | None:
        """Return the next batch, judged; None if no record arrives for a while."""
        records, trigger = await self._gatherer.gather()
        if not records:
            return None
        self._gathered.append(time.monotonic())
        try:
            return _PendingBatch(records, trigger, await self._judged(records))
        except Stopped:
            return None

    async def _complete(self, pending: _PendingBatch, *, rejected: bool) -> _PendingBatch:
        """Return a batch that waited for a write with what came meanwhile: one write less.

        If the store rejected rows, it may have been judged with a state that there is not.
        """
        is_early = pending.trigger in _EARLY
        late = await self._gatherer.read_late(pending.records) if is_early else ()
        if not late and not rejected:
            return pending
        records = [*pending.records, *late]
        return pending._replace(records=records, batch=await self._judged(records))

    async def _judged(self, records: Sequence[Record]) -> Batch:
        return await self._retry.until_done(partial(self._judge.judge, records))

    async def _settle(self, pending: _PendingBatch | None) -> bool:
        """Settle a batch; return whether the store rejected any of its rows."""
        if pending is None:
            return False
        try:
            with instrumentation.time_flush(pending.trigger):
                return await self._checkpoint.settle(pending.records, pending.batch)
        finally:
            self._gathered.pop(0)
            if pending.batch.expiries:
                self._cleaner.request()


async def run_both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Run two coroutines concurrently; a failure cancels the other."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

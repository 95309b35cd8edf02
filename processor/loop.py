"""The loop: gathers a batch from the log, writes it to the store, and commits."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from processor import instrumentation
from processor.batch import Batch, Rules, assemble, dead_letter_batch, decode_records
from processor.breaker import Breaker
from processor.cleaner import Cleaner
from processor.gatherer import Gatherer, Limits
from processor.retry import Retry
from processor.sink import Sink
from stanzalake.errors import RowRefused
from stanzalake.log.base import REJECTED, Consumer, Log, Record

T = TypeVar("T")
U = TypeVar("U")

_PART = "processor"
_FIRST_PARTITION = 0
_THREADS = 2
"""For judging and writing."""


class _PendingBatch(NamedTuple):
    """A batch between gathering and commit.

    Attributes:
        records: Records in the order of reading.
        trigger: Limit that ended the gathering.
        batch: Output of the records; None if there are none, or if stopped before judging.
    """

    records: Sequence[Record]
    trigger: str
    batch: Batch | None


_EMPTY = _PendingBatch((), "", None)


class Loop:
    """Moves events from the log into the store.

    Args:
        log: Log for dead letters.
        consumer: Source of events.
        sink: Destination of batches; called in a thread.
        rules: Server-wide rules of archiving.
        limits: Limits of a batch, and of dead letters.
        cleaner: Cleans up the store, called in a thread: periodically if this worker reads the
            first partition, and on request of an event.
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
    ) -> None:
        self._log = log
        self._consumer = consumer
        self._sink = sink
        self._rules = rules
        self._cleaner = cleaner
        self._breaker = Breaker(limits.rejected)
        self._retry = Retry(__name__, _PART)
        self._gatherer = Gatherer(consumer, limits, self._retry)
        self._threads = ThreadPoolExecutor(_THREADS, "processor")
        self._judging = asyncio.Lock()
        self._row_rejected = False
        self._gathered: list[float] = []
        instrumentation.track_pending(self._gathered)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then finish the pending batch if the store takes it.

        The next batch is gathered and judged while one is written, as most of a write is waiting
        for the store. Uncommitted records are read again by the next run, and give the same rows.

        Raises:
            StanzalakeError: An error that a retry does not help with; the batch is not committed.
        """
        pending = _EMPTY
        try:
            while not stop.is_set():
                settled, pending = await _run_both(self._flush(pending, stop), self._gather(stop))
                # Offsets are cumulative: the next commit would include an unsettled batch.
                if not settled:
                    return
                pending = await self._rejudge_if_rejected(pending, stop)
                await self._maintain()
            await self._flush(pending, stop)
        finally:
            # The store is closed after this: no thread may still use it.
            await asyncio.to_thread(self._threads.shutdown)

    async def _maintain(self) -> None:
        lag = self._consumer.lag()
        instrumentation.set_lag(lag)
        if self._cleaner.is_due(regular=_FIRST_PARTITION in lag):
            await self._blocking(self._cleaner.clean)

    async def _gather(self, stop: asyncio.Event) -> _PendingBatch:
        records, trigger = await self._gatherer.gather(stop)
        if not records:
            return _EMPTY
        self._gathered.append(time.time())
        return _PendingBatch(records, trigger, await self._judge_until_stopped(records, stop))

    async def _rejudge_if_rejected(
        self, pending: _PendingBatch, stop: asyncio.Event
    ) -> _PendingBatch:
        """Judge the batch again if a state was rejected, as cached histories may include it."""
        if not self._row_rejected:
            return pending
        self._row_rejected = False
        self._sink.invalidate()
        return pending._replace(batch=await self._judge_until_stopped(pending.records, stop))

    async def _judge_until_stopped(
        self, records: Sequence[Record], stop: asyncio.Event
    ) -> Batch | None:
        """Return the output of the records; None if stopped before the store answers."""
        return await self._retry.until_done(partial(self._judge, records), stop)

    async def _judge(self, records: Sequence[Record]) -> Batch:
        async with self._judging:
            return await self._blocking(partial(self._assemble, records))

    def _assemble(self, records: Sequence[Record]) -> Batch:
        decoded = decode_records(records)
        return assemble(decoded, self._sink.histories(decoded), self._rules)

    async def _flush(self, pending: _PendingBatch, stop: asyncio.Event) -> bool:
        """Settle the pending batch; return whether that was done before the stop."""
        if not pending.records:
            return True
        try:
            with instrumentation.time_flush(pending.trigger):
                return await self._settle(pending.records, pending.batch, stop)
        finally:
            self._gathered.pop(0)

    async def _settle(
        self, records: Sequence[Record], batch: Batch | None, stop: asyncio.Event
    ) -> bool:
        """Write and commit; return whether that was done before the stop.

        If the store rejects a row, the halves are settled one after the other, down to the record
        of that row.
        """
        batch = batch or await self._judge_until_stopped(records, stop)
        if batch is None:
            return False
        try:
            return await self._until_done(partial(self._write, records, batch), stop)
        except RowRefused as error:
            if len(records) == 1:
                return await self._until_done(partial(self._reject, records[0], error), stop)
        middle = len(records) // 2
        # Offsets are cumulative: the second half is only committed after the first.
        return await self._settle(records[:middle], None, stop) and await self._settle(
            records[middle:], None, stop
        )

    async def _until_done(self, call: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> bool:
        return await self._retry.until_done(call, stop) or False

    async def _write(self, records: Sequence[Record], batch: Batch) -> bool:
        kept = self._breaker.truncate(records, batch.dead_letters)
        if len(kept) < len(records):
            batch = await self._judge(kept)
        await self._blocking(partial(self._sink.write, batch))
        return await self._finish(batch, kept)

    async def _reject(self, record: Record, error: RowRefused) -> bool:
        self._row_rejected = True
        self._sink.invalidate()
        return await self._finish(dead_letter_batch(record, str(error)), [record])

    async def _finish(self, batch: Batch, records: Sequence[Record]) -> bool:
        """Append dead letters, then commit: a crash in between repeats them, and loses none."""
        await self._log.append(REJECTED, [letter.entry for letter in batch.dead_letters])
        instrumentation.count_batch(batch, len(records))
        await self._consumer.commit(batch.offsets)
        if batch.expiries:
            self._cleaner.request()
        self._breaker.count(records, batch.dead_letters)
        return True

    async def _blocking(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


async def _run_both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Run two coroutines concurrently; a failure cancels the other."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

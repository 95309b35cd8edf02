"""The loop: gather a batch from the log, write it to the store, commit. Nothing else commits."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from processor import instrumentation
from processor.batch import Batch, Rules, assemble, read, refused
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
"""One that judges, one that writes."""


class _PendingBatch(NamedTuple):
    """What was gathered, and what it comes to.

    Attributes:
        records: As they were read.
        trigger: What ended the gathering.
        batch: What is to be written; None if nothing is, or it was not judged before the stop.
    """

    records: Sequence[Record]
    trigger: str
    batch: Batch | None


_NOTHING = _PendingBatch((), "", None)


class Loop:
    """Moves events from a consumer into the store.

    Args:
        log: Where rejected records go.
        consumer: Where events come from.
        sink: Where a batch is written; its calls are made in a thread.
        rules: What decides over a message.
        limits: When a batch is full, and when the worker gives up.
        cleaner: Cleans up the store, in a thread: in intervals if this worker has the first
            partition, and if an event asks for it.
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
        self._refused = False
        self._gathered: list[float] = []
        instrumentation.aging(self._gathered)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish what is in hand, unless it cannot be written.

        While a batch is written, the next one is gathered and judged: most of a write is a wait
        for the store. What was not committed is read again by the next run, and is the same rows.

        Raises:
            StanzalakeError: What waiting does not mend; nothing that is not settled is committed.
        """
        hand = _NOTHING
        try:
            while not stop.is_set():
                settled, hand = await _both(self._flush(hand, stop), self._take(stop))
                # The commit of a batch covers the one before, so that has to be settled.
                if not settled:
                    return
                hand = await self._sure(hand, stop)
                await self._look_after()
            await self._flush(hand, stop)
        finally:
            # No thread outlives this, and uses a store that is closed.
            await asyncio.to_thread(self._threads.shutdown)

    async def _look_after(self) -> None:
        lag = self._consumer.lag()
        instrumentation.behind(lag)
        if self._cleaner.due(regular=_FIRST_PARTITION in lag):
            await self._blocking(self._cleaner.clean)

    async def _take(self, stop: asyncio.Event) -> _PendingBatch:
        records, trigger = await self._gatherer.gather(stop)
        if not records:
            return _NOTHING
        self._gathered.append(time.time())
        return _PendingBatch(records, trigger, await self._judged(records, stop))

    async def _sure(self, hand: _PendingBatch, stop: asyncio.Event) -> _PendingBatch:
        """Judge again what was judged while a row was refused: that may have been remembered."""
        if not self._refused:
            return hand
        self._refused = False
        self._sink.invalidate()
        return hand._replace(batch=await self._judged(hand.records, stop))

    async def _judged(self, records: Sequence[Record], stop: asyncio.Event) -> Batch | None:
        """Give what records come to; None if that cannot be told before the stop."""
        return await self._retry.until_done(partial(self._judge, records), stop)

    async def _judge(self, records: Sequence[Record]) -> Batch:
        async with self._judging:
            return await self._blocking(partial(self._assemble, records))

    def _assemble(self, records: Sequence[Record]) -> Batch:
        decoded = read(records)
        return assemble(decoded, self._sink.histories(decoded), self._rules)

    async def _flush(self, hand: _PendingBatch, stop: asyncio.Event) -> bool:
        """Settle what is in hand; tell whether it was done before the stop."""
        if not hand.records:
            return True
        try:
            with instrumentation.flushing(hand.trigger):
                return await self._settle(hand.records, hand.batch, stop)
        finally:
            self._gathered.pop(0)

    async def _settle(
        self, records: Sequence[Record], batch: Batch | None, stop: asyncio.Event
    ) -> bool:
        """Write and commit; tell whether it was done before the stop.

        If a row is refused, the halves are settled one after the other, down to the record whose
        row it is.
        """
        batch = batch or await self._judged(records, stop)
        if batch is None:
            return False
        try:
            return await self._done(partial(self._write, records, batch), stop)
        except RowRefused as error:
            if len(records) == 1:
                return await self._done(partial(self._refuse, records[0], error), stop)
        middle = len(records) // 2
        # A half that was not settled keeps the other from being committed, which would cover it.
        return await self._settle(records[:middle], None, stop) and await self._settle(
            records[middle:], None, stop
        )

    async def _done(self, act: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> bool:
        return await self._retry.until_done(act, stop) or False

    async def _write(self, records: Sequence[Record], batch: Batch) -> bool:
        allowed = self._breaker.allowed(records, batch.rejected)
        if len(allowed) < len(records):
            batch = await self._judge(allowed)
        await self._blocking(partial(self._sink.write, batch))
        return await self._finish(batch, allowed)

    async def _refuse(self, record: Record, error: RowRefused) -> bool:
        self._refused = True
        self._sink.invalidate()
        return await self._finish(refused(record, str(error)), [record])

    async def _finish(self, batch: Batch, records: Sequence[Record]) -> bool:
        """Keep the rejected, then commit; in this order a crash between the two only repeats."""
        await self._log.append(REJECTED, [one.entry for one in batch.rejected])
        instrumentation.written(batch, len(records))
        await self._consumer.commit(batch.offsets)
        if batch.expiries:
            self._cleaner.ask()
        self._breaker.count(records, batch.rejected)
        return True

    async def _blocking(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


async def _both(one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Run two things at the same time; if one fails, the other is given up."""
    tasks = asyncio.ensure_future(one), asyncio.ensure_future(other)
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

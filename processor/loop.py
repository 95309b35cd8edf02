"""The loop: gather a batch from the log, write it to the store, commit. Nothing else commits."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from archive import health
from archive.errors import RowRefused, StanzalakeError
from archive.log import READ_BYTES, REJECTED, Consumer, Log, Record
from archive.trouble import Trouble
from processor import meter
from processor.batch import Batch, Rules, assemble, read, refused
from processor.breaker import Breaker
from processor.cleaner import Cleaner
from processor.sink import Sink

_PART = "processor"
_FIRST_PARTITION = 0
_IDLE_SECONDS = 1.0
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0


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
        self._limits = limits
        self._cleaner = cleaner
        self._breaker = Breaker(limits.rejected)
        self._trouble = Trouble(__name__)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish the batch in hand, unless it cannot be written.

        What was not committed is read again by the next run, and is the same rows again.

        Raises:
            StanzalakeError: What waiting does not mend; nothing that is not settled is committed.
        """
        health.report(_PART, up=True)
        while not stop.is_set():
            records, trigger = await self._gather(stop)
            if records:
                with meter.flushing(trigger):
                    await self._settle(records, stop)
            lag = self._consumer.lag()
            meter.behind(lag)
            if self._cleaner.due(regular=_FIRST_PARTITION in lag):
                await asyncio.to_thread(self._cleaner.clean)

    async def _gather(self, stop: asyncio.Event) -> tuple[list[Record], str]:
        """Read until the batch is full, and say what filled it; bytes bound the memory."""
        records = await self._read(self._limits.rows, _IDLE_SECONDS, stop)
        size = _size(records)
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        while records and not stop.is_set():
            left = deadline - asyncio.get_running_loop().time()
            full = self._full(len(records), size, left)
            if full:
                return records, full
            within = min(left, _IDLE_SECONDS)
            more = await self._read(self._limits.rows - len(records), within, stop)
            size += _size(more)
            records += more
        return records, "stop"

    def _full(self, rows: int, size: int, left: float) -> str:
        if rows >= self._limits.rows:
            return "rows"
        if size >= READ_BYTES:
            return "bytes"
        return "" if left > 0 else "age"

    async def _read(self, limit: int, within: float, stop: asyncio.Event) -> list[Record]:
        records: list[Record] = []

        async def read() -> None:
            records.extend(await self._consumer.read(limit, within))

        await self._insist(read, stop)
        return records

    async def _settle(self, records: Sequence[Record], stop: asyncio.Event) -> bool:
        """Judge, write and commit; tell whether it was done before the stop.

        If a row is refused, the halves are settled one after the other, down to the record whose
        row it is.
        """
        try:
            return await self._insist(partial(self._write, records), stop)
        except RowRefused as error:
            if len(records) == 1:
                return await self._insist(partial(self._refuse, records[0], error), stop)
        middle = len(records) // 2
        # A half that was not settled keeps the other from being committed, which would cover it.
        return await self._settle(records[:middle], stop) and await self._settle(
            records[middle:], stop
        )

    async def _write(self, records: Sequence[Record]) -> None:
        batch = await asyncio.to_thread(self._judge, records)
        allowed = self._breaker.allowed(records, batch.rejected)
        if len(allowed) < len(records):
            batch = await asyncio.to_thread(self._judge, allowed)
        await asyncio.to_thread(self._sink.write, batch)
        await self._finish(batch, allowed)

    async def _refuse(self, record: Record, error: RowRefused) -> None:
        self._sink.forget()
        await self._finish(refused(record, str(error)), [record])

    async def _finish(self, batch: Batch, records: Sequence[Record]) -> None:
        """Keep the rejected, then commit; in this order a crash between the two only repeats."""
        await self._log.append(REJECTED, [one.entry for one in batch.rejected])
        meter.written(batch, len(records))
        await self._consumer.commit(batch.offsets)
        if batch.expiries:
            self._cleaner.ask()
        self._breaker.count(records, batch.rejected)

    def _judge(self, records: Sequence[Record]) -> Batch:
        decoded = read(records)
        return assemble(decoded, self._sink.histories(decoded), self._rules)

    async def _insist(self, act: Callable[[], Awaitable[None]], stop: asyncio.Event) -> bool:
        """Do it, with growing waits, until it works or the worker is told to stop."""
        wait = _FIRST_WAIT
        while True:
            try:
                await act()
            except StanzalakeError as error:
                if not error.retry:
                    raise
                self._trouble.begin(f"waiting: {error}")
                health.report(_PART, up=False)
            else:
                self._trouble.end()
                health.report(_PART, up=True)
                return True
            if await _stopped(stop, wait):
                return False
            wait = min(2 * wait, _LONGEST_WAIT)


def _size(records: Iterable[Record]) -> int:
    return sum(len(record.value) for record in records)


async def _stopped(stop: asyncio.Event, within: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), within)
    except TimeoutError:
        return False
    return True

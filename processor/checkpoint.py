"""Checkpoints: the steps from a judged batch to its commit."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial

from processor import instrumentation
from processor.batch import Batch, dead_letter_batch
from processor.breaker import Breaker
from processor.judge import Judge
from processor.retry import Retry
from processor.sink import Sink
from stanzalake.errors import RowRefused
from stanzalake.log.base import REJECTED, Consumer, Log, Record


class Checkpoint:
    """Writes batches and commits their offsets.

    States, rows, dead letters and the commit are separate steps. A failed step is retried alone, so
    that neither an unavailable store nor an unavailable log makes the other see a batch twice. The
    order makes a crash repeat steps, but lose nothing.

    Args:
        log: Log for dead letters.
        consumer: Consumer whose offsets are committed.
        sink: Destination of states and rows.
        judge: Judges the parts of a batch when the store rejects a row.
        breaker: Counts consecutive dead letters.
        retry: Retries failed steps.
        threads: Executor of the blocking calls of the sink.
    """

    def __init__(  # noqa: PLR0913  # the parties of a commit
        self,
        log: Log,
        consumer: Consumer,
        *,
        sink: Sink,
        judge: Judge,
        breaker: Breaker,
        retry: Retry,
        threads: Executor,
    ) -> None:
        self._log = log
        self._consumer = consumer
        self._sink = sink
        self._judge = judge
        self._breaker = breaker
        self._retry = retry
        self._threads = threads

    async def settle(self, records: Sequence[Record], batch: Batch) -> bool:
        """Write and commit a batch; return whether the store rejected any of its rows.

        On a rejection the halves are settled one after the other, down to the single record, which
        becomes a dead letter.

        Raises:
            StanzalakeError: An error that a retry does not help with; nothing more is committed.
            TooManyRejected: The breaker tripped; everything up to there is committed.
            Stopped: The service is stopping, and a step keeps failing.
        """
        try:
            await self._run_steps(records, batch)
        except RowRefused as error:
            self._sink.reject(batch)
            await self._divide(records, error)
            return True
        return False

    async def _divide(self, records: Sequence[Record], error: RowRefused) -> None:
        if len(records) == 1:
            await self._run_steps(records, dead_letter_batch(records[0], str(error)))
            return
        middle = len(records) // 2
        # In order, as the commit of the second half covers the first.
        for half in (records[:middle], records[middle:]):
            await self.settle(half, await self._judge_again(half))

    async def _run_steps(self, records: Sequence[Record], batch: Batch) -> None:
        kept = self._breaker.truncate(records, batch.dead_letters)
        if len(kept) < len(records):
            batch = await self._judge_again(kept)
        await self._in_thread(partial(self._sink.write_states, batch))
        await self._in_thread(partial(self._sink.write_rows, batch))
        instrumentation.observe_insert(batch)
        await self._append_dead_letters(batch)
        instrumentation.count_events(batch, len(kept))
        await self._retry.until_done(partial(self._consumer.commit, batch.offsets))
        self._breaker.count(kept, batch.dead_letters)

    async def _append_dead_letters(self, batch: Batch) -> None:
        entries = [letter.entry for letter in batch.dead_letters]
        if entries:
            await self._retry.until_done(partial(self._log.append, REJECTED, entries))

    async def _judge_again(self, records: Sequence[Record]) -> Batch:
        return await self._retry.until_done(partial(self._judge.judge, records))

    async def _in_thread(self, call: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        await self._retry.until_done(lambda: loop.run_in_executor(self._threads, call))

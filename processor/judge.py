"""The judge: applies exclusion and policy to records, with the histories of their owners."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

from processor.batch import Batch, Rules, assemble, decode_records
from processor.sink import Sink
from stanzalake.log.base import Record


class Judge:
    """Turns records into batches, in a thread.

    Args:
        sink: Source of histories.
        rules: Server-wide rules of archiving.
        threads: Executor of the blocking part.
    """

    def __init__(self, sink: Sink, rules: Rules, threads: Executor) -> None:
        self._sink = sink
        self._rules = rules
        self._threads = threads
        self._lock = asyncio.Lock()

    async def judge(self, records: Sequence[Record]) -> Batch:
        """Return the batch of the records. Concurrent calls wait for each other.

        Raises:
            StoreUnavailable: A history cannot be read at the moment.
        """
        loop = asyncio.get_running_loop()
        async with self._lock:
            return await loop.run_in_executor(self._threads, self._assemble, records)

    def _assemble(self, records: Sequence[Record]) -> Batch:
        decoded = decode_records(records)
        return assemble(decoded, self._sink.histories(decoded), self._rules)

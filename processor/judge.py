"""The judge: applies exclusion and policy to records, with the histories of their owners."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace

from processor.batch import Batch, Decoded, Rules, assemble, decode_records, join
from processor.sink import Sink
from stanzalake.errors import ResultTooLarge
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
            return await loop.run_in_executor(self._threads, self._judge, records)

    def _judge(self, records: Sequence[Record]) -> Batch:
        return self._assemble(decode_records(records))

    def _assemble(self, decoded: Decoded) -> Batch:
        try:
            histories = self._sink.histories(decoded)
        except ResultTooLarge:
            owners = sorted(decoded.owners)
            if len(owners) == 1:
                raise
        else:
            return assemble(decoded, histories, self._rules, self._sink.earlier)
        # Half of the owners at a time: the histories of all would take too much memory.
        middle = len(owners) // 2
        first, second = frozenset(owners[:middle]), frozenset(owners[middle:])
        rest = replace(decoded, messages=[], states=[], tombstones=[])
        parts = [rest, decoded.select(first), decoded.select(second)]
        return join(*map(self._assemble, parts))

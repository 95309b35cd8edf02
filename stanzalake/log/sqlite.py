"""The embedded log: an SQLite file with a single partition, for the services of a process."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from stanzalake.errors import LogDamaged, LogUnavailable
from stanzalake.log.base import Entry, Record
from stanzalake.log.sqlite_file import PARTITION, Error, LogFile, is_damage
from stanzalake.log.watermarks import NO_WATERMARKS, Watermarks
from stanzalake.observability.log_once import LogOnce

_SCAN_RECORDS = 1000
_FOLLOW_SECONDS = 0.5
_MAX_KEYS = 4 * 1024 * 1024
"""Bytes of the keys whose newest record is remembered."""
_UPKEEP_SECONDS = 60.0

log = logging.getLogger(__name__)

T = TypeVar("T")


def _now() -> int:
    return time.time_ns() // 1_000_000


class LocalLog:
    """A log in a file, for the services of a process.

    Other processes may read and append; the next read of this process returns their records.

    Args:
        path: The file, created if missing in an existing directory.
        retention: Seconds for which committed records are kept; None keeps them for ever.
        clock: Returns unix milliseconds.

    Raises:
        LogUnavailable: The file cannot be opened.
        LogDamaged: The file is damaged.
    """

    def __init__(
        self, path: Path, retention: int | None = None, clock: Callable[[], int] = _now
    ) -> None:
        self._path = path
        self._retention = retention
        self._clock = clock
        self._damage: LogDamaged | None = None
        self._key_bytes = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="local-log")
        self._change = asyncio.Condition()
        # The ends that are waited for, by topic and group; and the number of waits begun.
        self._awaited: dict[tuple[str, str], list[int]] = {}
        self._waits = 0
        self._upkeep: asyncio.Task[None] | None = None
        try:
            self._thread.submit(self._open).result()
        except Error as error:
            self._thread.shutdown()
            raise self._failure(error, "cannot be opened") from error

    def _open(self) -> None:
        self._file = LogFile(self._path)
        self._ends = self._file.ends()
        self._commits = self._file.commits()
        self._key_ends = self._no_key_ends()

    async def append(self, topic: str, entries: Sequence[Entry]) -> Watermarks:
        """Append entries and return once they are on the disk."""
        if not entries:
            return {}
        end = await self._call(self._file.append, topic, entries, self._clock())
        self._ends[topic] = end
        self._remember(topic, {entry.key for entry in entries}, end)
        await self._notify()
        return {PARTITION: end}

    async def consumer(
        self,
        topic: str,
        group: str,
        on_rebalance: Callable[[], None] | None = None,  # noqa: ARG002  # a single process never rebalances
    ) -> "LocalConsumer":
        """Open a consumer at the group's last commit, else at the oldest record.

        A log with consumers is also trimmed, at intervals.
        """
        if self._upkeep is None:
            self._upkeep = asyncio.create_task(self._keep_up())
        return LocalConsumer(self, topic, group, self._commits.get((topic, group), 0))

    async def wait_committed(
        self, topic: str, group: str, key: str, timeout: float, up_to: Watermarks = NO_WATERMARKS
    ) -> bool:
        """Wait until the group has committed the key's records appended before this call."""
        if self._damage:
            raise self._damage
        newest, floors = self._key_ends
        end = newest.get((topic, key), floors.get(topic, 0))
        end = min(end, up_to.get(PARTITION, end))

        def is_committed() -> bool:
            return self._commits.get((topic, group), 0) >= end

        if is_committed():
            return True
        ends = self._awaited.setdefault((topic, group), [])
        ends.append(end)
        self._waits += 1
        await self._notify()
        try:
            return await self._wait_for(is_committed, timeout)
        finally:
            ends.remove(end)

    async def scan(self, topic: str) -> AsyncGenerator[Record, None]:
        """Iterate over the records that a topic holds now."""
        start = 0
        end = await self._call(self._file.last, topic)
        while start <= end:
            for record in await self._call(self._file.read, topic, start, _SCAN_RECORDS):
                if record.offset <= end:
                    yield record
                start = record.offset + 1

    async def follow(self, topic: str) -> AsyncGenerator[Record, None]:
        """Iterate over the records that a topic holds now, then over those that are appended."""
        start = 0
        while True:
            records = await self._call(self._file.read, topic, start, _SCAN_RECORDS)
            for record in records:
                yield record
                start = record.offset + 1
            if not records:
                await asyncio.sleep(_FOLLOW_SECONDS)  # another process may append

    async def close(self) -> None:
        """Close the file."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.wait({self._upkeep})
        await asyncio.wrap_future(self._thread.submit(self._file.close))
        self._thread.shutdown()

    def end(self, topic: str) -> int:
        """Return the offset after a topic's last record."""
        return self._ends.get(topic, 0)

    async def read(self, topic: str, start: int, limit: int, timeout: float) -> list[Record]:
        """Return records of a topic from an offset on; empty on a timeout (seconds).

        Returns early when somebody begins to wait for a commit.
        """
        waits = self._waits
        await self._wait_for(
            lambda: self._ends.get(topic, 0) > start or self._waits > waits, timeout
        )
        return await self._call(self._file.read, topic, start, limit)

    def awaited(self, topic: str, group: str) -> int:
        """Return the highest offset up to which somebody waits for a group's commit."""
        return max(self._awaited.get((topic, group), ()), default=0)

    async def commit(self, topic: str, group: str, next_offset: int) -> None:
        """Store a group's next offset."""
        await self._call(self._file.commit, topic, group, next_offset)
        self._commits[topic, group] = next_offset
        await self._notify()

    def _remember(self, topic: str, keys: Collection[str], end: int) -> None:
        newest, _ = self._key_ends
        self._key_bytes += sum(len(key) for key in keys if (topic, key) not in newest)
        newest.update(dict.fromkeys(((topic, key) for key in keys), end))
        if self._key_bytes > _MAX_KEYS:
            self._key_ends, self._key_bytes = self._no_key_ends(), 0

    def _no_key_ends(self) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
        """Return no key's end offset, and for all other keys the end of their topic."""
        return {}, dict(self._ends)

    async def _keep_up(self) -> None:
        """Trim and shrink the file at intervals, also while nothing is appended."""
        trouble = LogOnce(__name__)
        while True:
            await asyncio.sleep(_UPKEEP_SECONDS)
            try:
                if self._retention is not None:
                    await self._paced(self._file.trim, self._clock() - self._retention * 1000)
                await self._paced(self._file.shrink)
                await self._call(self._file.truncate_wal)
                trouble.end()
            except LogUnavailable as error:
                trouble.begin(f"the log is not trimmed: {error}")

    async def _paced(self, step: Callable[..., bool], *arguments: object) -> None:
        """Repeat a step until nothing is left to do, and leave half of the time to others."""
        clock = asyncio.get_running_loop().time
        started = clock()
        while await self._call(step, *arguments):
            await asyncio.sleep(clock() - started)
            started = clock()

    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        if self._damage:
            raise self._damage
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, function, *arguments)
        except Error as error:
            raise self._failure(error, "fails") from error

    def _failure(self, error: Error, text: str) -> LogUnavailable:
        """Translate an error; after damage the file takes and gives nothing any more."""
        if not is_damage(error):
            return LogUnavailable(f"the log {self._path} {text}: {error}")
        if self._damage is None:
            self._damage = LogDamaged(
                f"the log {self._path} {text}: DAMAGED ({error}): stop the process, and recover it "
                "as docs/operating.md says under Lost and damaged records"
            )
            log.error("%s; meanwhile Prosody's journal keeps new events", self._damage)
        return self._damage

    async def _notify(self) -> None:
        async with self._change:
            self._change.notify_all()

    async def _wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout), self._change:
                await self._change.wait_for(condition)
        except TimeoutError:
            return condition()
        return True


class LocalConsumer:
    """A group's reader of a topic of a LocalLog."""

    def __init__(self, log: LocalLog, topic: str, group: str, start: int) -> None:
        self._log = log
        self._topic = topic
        self._group = group
        self._next = start

    async def read(self, limit: int, timeout: float) -> Sequence[Record]:
        """Return the next records; empty on a timeout (seconds)."""
        records = await self._log.read(self._topic, self._next, limit, timeout)
        if records:
            self._next = records[-1].offset + 1
        return records

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Store the next offset of the only partition."""
        if PARTITION in offsets:
            await self._log.commit(self._topic, self._group, offsets[PARTITION])

    def partitions(self) -> Collection[int]:
        """Return the only partition."""
        return {PARTITION}

    def share(self) -> float:
        """Return the whole."""
        return 1.0

    def lag(self) -> Mapping[int, int]:
        """Return the number of offsets left, those of other topics included."""
        return {PARTITION: max(0, self._log.end(self._topic) - self._next)}

    def awaited(self) -> Mapping[int, int]:
        """Return the offset up to which somebody in this process waits."""
        return {PARTITION: self._log.awaited(self._topic, self._group)}

    async def close(self) -> None:
        """Release nothing: the log owns the file."""

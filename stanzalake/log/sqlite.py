"""The embedded log: an SQLite file (WAL) with one partition."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from stanzalake.errors import LogUnavailable
from stanzalake.log.base import READ_BYTES, Entry, Record
from stanzalake.log.watermarks import NO_WATERMARKS, Watermarks

PARTITION = 0

_SCAN_RECORDS = 1000
_MAX_KEYS = 65_536
_TRIM_INTERVAL_MS = 60_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    "offset" INTEGER PRIMARY KEY AUTOINCREMENT,
    topic    TEXT NOT NULL,
    key      TEXT NOT NULL,
    value    BLOB NOT NULL,
    headers  TEXT NOT NULL,
    at       INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS records_by_topic ON records (topic, "offset");
CREATE TABLE IF NOT EXISTS commits (
    topic   TEXT NOT NULL,
    "group" TEXT NOT NULL,
    next    INTEGER NOT NULL,
    PRIMARY KEY (topic, "group")
);
"""

T = TypeVar("T")


def _now() -> int:
    return time.time_ns() // 1_000_000


class LocalLog:
    """A log in one file, for the services of one process.

    Other processes may read and append; the next read of this process returns their records.

    Args:
        path: The file, created if missing in an existing directory.
        retention: Seconds for which committed records are kept; None keeps them for ever.
        clock: Returns unix milliseconds.

    Raises:
        LogUnavailable: The file cannot be opened.
    """

    def __init__(
        self, path: Path, retention: int | None = None, clock: Callable[[], int] = _now
    ) -> None:
        self._retention = retention
        self._clock = clock
        self._trimmed = clock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="local-log")
        self._change = asyncio.Condition()
        self._thread.submit(self._open, path).result()

    async def append(self, topic: str, entries: Sequence[Entry]) -> Watermarks:
        """Append entries and return once they are on the disk (``synchronous=FULL``)."""
        if not entries:
            return {}
        end = await self._call(self._append, topic, entries)
        await self._notify()
        return {PARTITION: end}

    async def consumer(
        self,
        topic: str,
        group: str,
        on_rebalance: Callable[[], None] | None = None,  # noqa: ARG002  # a single process never rebalances
    ) -> "LocalConsumer":
        """Open a consumer at the group's last commit, else at the oldest record."""
        return LocalConsumer(self, topic, group, self._commits.get((topic, group), 0))

    async def wait_committed(
        self, topic: str, group: str, key: str, timeout: float, up_to: Watermarks = NO_WATERMARKS
    ) -> bool:
        """Wait until the group has committed the key's records appended before this call."""
        newest, floors = self._key_ends
        end = newest.get((topic, key), floors.get(topic, 0))
        end = min(end, up_to.get(PARTITION, end))
        return await self._wait_for(lambda: self._commits.get((topic, group), 0) >= end, timeout)

    async def scan(self, topic: str) -> AsyncGenerator[Record, None]:
        """Iterate over the records that a topic holds now."""
        start = 0
        end = await self._call(self._last, topic)
        while start <= end:
            for record in await self._call(self._read, topic, start, _SCAN_RECORDS):
                if record.offset <= end:
                    yield record
                start = record.offset + 1

    async def close(self) -> None:
        """Close the file."""
        await self._call(self._connection.close)
        self._thread.shutdown()

    def end(self, topic: str) -> int:
        """Return the offset after a topic's last record."""
        return self._ends.get(topic, 0)

    async def read(self, topic: str, start: int, limit: int, timeout: float) -> list[Record]:
        """Return records of a topic from an offset on; empty on a timeout (seconds)."""
        await self._wait_for(lambda: self._ends.get(topic, 0) > start, timeout)
        return await self._call(self._read, topic, start, limit)

    async def commit(self, topic: str, group: str, next_offset: int) -> None:
        """Store a group's next offset durably."""
        await self._call(self._commit, topic, group, next_offset)
        await self._notify()

    def _open(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
            ends = self._connection.execute(
                'SELECT topic, max("offset") + 1 FROM records GROUP BY 1'
            )
            self._ends: dict[str, int] = dict(ends.fetchall())
            self._key_ends = self._no_key_ends()
            commits = self._connection.execute('SELECT topic, "group", next FROM commits')
            self._commits = {(topic, group): next_offset for topic, group, next_offset in commits}
        except sqlite3.Error as error:
            raise LogUnavailable(f"the log {path} cannot be opened: {error}") from None

    def _append(self, topic: str, entries: Sequence[Entry]) -> int:
        at = self._clock()
        rows = [(topic, e.key, e.value, _pack(e.headers), at) for e in entries]
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO records (topic, key, value, headers, at) VALUES (?, ?, ?, ?, ?)", rows
            )
            (last,) = self._connection.execute('SELECT max("offset") FROM records').fetchone()
        self._ends[topic] = last + 1
        newest, _ = self._key_ends
        newest.update(dict.fromkeys(((topic, e.key) for e in entries), last + 1))
        if len(newest) > _MAX_KEYS:
            self._key_ends = self._no_key_ends()
        return int(last) + 1

    def _no_key_ends(self) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
        """Return no key's end offset, and for all other keys the end of their topic.

        A pair, replaced in one assignment: the event loop reads both while a thread writes.
        """
        return {}, dict(self._ends)

    def _last(self, topic: str) -> int:
        """Return the offset of a topic's last record, from any process; -1 without records."""
        (last,) = self._connection.execute(
            'SELECT max("offset") FROM records WHERE topic = ?', (topic,)
        ).fetchone()
        return -1 if last is None else int(last)

    def _read(self, topic: str, start: int, limit: int) -> list[Record]:
        rows = self._connection.execute(
            'SELECT "offset", key, value, headers, at FROM records'
            ' WHERE topic = ? AND "offset" >= ? ORDER BY "offset" LIMIT ?',
            (topic, start, limit),
        )
        records: list[Record] = []
        size = 0
        for offset, key, value, headers, at in rows:
            records.append(Record(PARTITION, offset, key, value, _unpack(headers), at))
            size += len(value)
            if size >= READ_BYTES:
                break
        rows.close()
        return records

    def _commit(self, topic: str, group: str, next_offset: int) -> None:
        with self._transaction():
            self._connection.execute(
                "INSERT INTO commits VALUES (?, ?, ?)"
                ' ON CONFLICT (topic, "group") DO UPDATE SET next = excluded.next',
                (topic, group, next_offset),
            )
        self._commits[topic, group] = next_offset
        if self._clock() - self._trimmed >= _TRIM_INTERVAL_MS:
            self._trim(topic)

    def _trim(self, topic: str) -> None:
        self._trimmed = self._clock()
        if self._retention is None:
            return
        with self._transaction():
            self._connection.execute(
                'DELETE FROM records WHERE topic = ? AND at < ? AND "offset" <'
                " (SELECT min(next) FROM commits WHERE topic = ?)",
                (topic, self._trimmed - self._retention * 1000, topic),
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit the block, or roll back, also if COMMIT itself fails on a full disk."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, function, *arguments)
        except sqlite3.Error as error:
            raise LogUnavailable(f"the log's file: {error}") from None

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
    """A reader of one topic of a LocalLog for one group."""

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

    def lag(self) -> Mapping[int, int]:
        """Return the number of offsets left, those of other topics included."""
        return {PARTITION: max(0, self._log.end(self._topic) - self._next)}

    async def close(self) -> None:
        """Release nothing: the log owns the file."""


def _pack(headers: Sequence[tuple[str, str]]) -> str:
    return msgspec.json.encode(headers).decode() if headers else ""


def _unpack(text: str) -> tuple[tuple[str, str], ...]:
    return msgspec.json.decode(text, type=tuple[tuple[str, str], ...]) if text else ()

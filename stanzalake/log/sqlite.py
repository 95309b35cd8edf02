"""The embedded log: an SQLite file (WAL) behind the same interface as Kafka, with one partition."""

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

_BROWSE_RECORDS = 1000
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

    Others may read beside them, and append: that is noticed by the next read.

    Args:
        path: The file; made if it is missing. Its directory must be there.
        retention: Seconds for which records are kept that every group has committed; None keeps
            them for ever.
        clock: Gives unix milliseconds.

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
        """Write the entries; they are on the disk when this returns (``synchronous=FULL``)."""
        if not entries:
            return {}
        end = await self._call(self._append, topic, entries)
        await self._announce()
        return {PARTITION: end}

    async def consumer(
        self,
        topic: str,
        group: str,
        on_rebalance: Callable[[], None] | None = None,  # noqa: ARG002  # one process reads all there is
    ) -> "LocalConsumer":
        """Open a consumer at the group's last commit, or at the first record there is."""
        return LocalConsumer(self, topic, group, self._commits.get((topic, group), 0))

    async def wait_committed(
        self, topic: str, group: str, key: str, timeout: float, up_to: Watermarks = NO_WATERMARKS
    ) -> bool:
        """Wait until the group has committed all that was appended of the key before this call."""
        newest, floors = self._places
        end = newest.get((topic, key), floors.get(topic, 0))
        end = min(end, up_to.get(PARTITION, end))
        return await self._until(lambda: self._commits.get((topic, group), 0) >= end, timeout)

    async def scan(self, topic: str) -> AsyncGenerator[Record, None]:
        """Give what a topic holds now, for no group."""
        start = 0
        end = await self._call(self._last, topic)
        while start <= end:
            for record in await self._call(self._read, topic, start, _BROWSE_RECORDS):
                if record.offset <= end:
                    yield record
                start = record.offset + 1

    async def close(self) -> None:
        """Close the file."""
        await self._call(self._connection.close)
        self._thread.shutdown()

    def end(self, topic: str) -> int:
        """Give the offset behind the last record of a topic; used by the consumers."""
        return self._ends.get(topic, 0)

    async def read(self, topic: str, start: int, limit: int, timeout: float) -> list[Record]:
        """Give records of a topic from an offset on; used by the consumers."""
        await self._until(lambda: self._ends.get(topic, 0) > start, timeout)
        return await self._call(self._read, topic, start, limit)

    async def commit(self, topic: str, group: str, next_offset: int) -> None:
        """Remember a group's next offset; used by the consumers."""
        await self._call(self._commit, topic, group, next_offset)
        await self._announce()

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
            self._places = self._no_places()
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
        newest, _ = self._places
        newest.update(dict.fromkeys(((topic, e.key) for e in entries), last + 1))
        if len(newest) > _MAX_KEYS:
            self._places = self._no_places()
        return int(last) + 1

    def _no_places(self) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
        """Give where each key's newest record ends, and the floor up to which others have theirs.

        Both in one, as they are replaced while others read them.
        """
        return {}, dict(self._ends)

    def _last(self, topic: str) -> int:
        """Give the offset of a topic's last record, whoever appended it; -1 if there is none."""
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
        """All or nothing, also when the disk is full and it is the COMMIT that fails."""
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

    async def _announce(self) -> None:
        async with self._change:
            self._change.notify_all()

    async def _until(self, true: Callable[[], bool], timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout), self._change:
                await self._change.wait_for(true)
        except TimeoutError:
            return true()
        return True


class LocalConsumer:
    """Reads one topic of a LocalLog for one group."""

    def __init__(self, log: LocalLog, topic: str, group: str, start: int) -> None:
        self._log = log
        self._topic = topic
        self._group = group
        self._next = start

    async def read(self, limit: int, timeout: float) -> Sequence[Record]:
        """Give the next records; empty if none came within so many seconds."""
        records = await self._log.read(self._topic, self._next, limit, timeout)
        if records:
            self._next = records[-1].offset + 1
        return records

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Remember the next offset of the only partition."""
        if PARTITION in offsets:
            await self._log.commit(self._topic, self._group, offsets[PARTITION])

    def lag(self) -> Mapping[int, int]:
        """Give how many records are left, those of other topics between them included."""
        return {PARTITION: max(0, self._log.end(self._topic) - self._next)}

    async def close(self) -> None:
        """Nothing is held: the log owns the file."""


def _pack(headers: Sequence[tuple[str, str]]) -> str:
    return msgspec.json.encode(headers).decode() if headers else ""


def _unpack(text: str) -> tuple[tuple[str, str], ...]:
    return msgspec.json.decode(text, type=tuple[tuple[str, str], ...]) if text else ()

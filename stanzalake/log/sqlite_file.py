"""The embedded log's file: SQL, durability and disk space. Synchronous, for a single thread."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from stanzalake.log.base import READ_BYTES, Entry, Record

PARTITION = 0

Error = sqlite3.Error
"""Root of the errors of every method here."""

_BUSY_SECONDS = 5.0
_PIECE_RECORDS = 1000
_PIECE_BYTES = 4 * 1024 * 1024
_PIECE_PAGES = 1024
_FREE_PAGES = 4096
"""Free pages that stay in the file for the next records: 16 MiB."""
_SMALL_PAGES = 16_384
"""Used pages of a file that is small enough to be rewritten at once: 64 MiB."""
_WAL_BYTES = 16 * 1024 * 1024
_INCREMENTAL = 2
_PROGRESS_STEPS = 100_000
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

# A deleted record must leave no bytes behind, and the file has to shrink after an outage.
_PRAGMAS = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA secure_delete = ON;
PRAGMA journal_mode = WAL;
PRAGMA journal_size_limit = {_WAL_BYTES};
"""
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


class LogFile:
    """Records and commits in an SQLite database.

    Args:
        path: The file, created if missing in an existing directory.

    Raises:
        Error: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        self._connection.executescript(_PRAGMAS + _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def ends(self) -> dict[str, int]:
        """Return the offset after the last record of each topic."""
        return dict(self._rows('SELECT topic, max("offset") + 1 FROM records GROUP BY 1'))

    def commits(self) -> dict[tuple[str, str], int]:
        """Return the next offset of each topic and group."""
        rows = self._rows('SELECT topic, "group", next FROM commits')
        return {(topic, group): next_offset for topic, group, next_offset in rows}

    def last(self, topic: str) -> int:
        """Return the offset of a topic's last record, from any process; -1 without records."""
        [(last,)] = self._rows('SELECT max("offset") FROM records WHERE topic = ?', topic)
        return -1 if last is None else int(last)

    def append(self, topic: str, entries: Sequence[Entry], at: int) -> int:
        """Append entries at a time in unix milliseconds; return the offset after the last."""
        rows = [(topic, e.key, e.value, _pack(e.headers), at) for e in entries]
        with self._transaction(durable=True):
            self._connection.executemany(
                "INSERT INTO records (topic, key, value, headers, at) VALUES (?, ?, ?, ?, ?)", rows
            )
            [(last,)] = self._rows('SELECT max("offset") FROM records')
        return int(last) + 1

    def read(self, topic: str, start: int, limit: int) -> list[Record]:
        """Return records of a topic from an offset on; ends early at READ_BYTES of values."""
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

    def commit(self, topic: str, group: str, next_offset: int) -> None:
        """Store a group's next offset; a power failure may take it back, for records read twice."""
        with self._transaction(durable=False):
            self._connection.execute(
                "INSERT INTO commits VALUES (?, ?, ?)"
                ' ON CONFLICT (topic, "group") DO UPDATE SET next = excluded.next',
                (topic, group, next_offset),
            )

    def trim(self, before: int) -> bool:
        """Delete a bounded number of the oldest records that every group of a topic has committed.

        Args:
            before: Time of the append, unix milliseconds, from which on records are kept.

        Returns:
            Whether there may be more to delete.
        """
        for topic, committed in self._rows("SELECT topic, min(next) FROM commits GROUP BY 1"):
            last = self._expired(topic, committed, before)
            if last is not None:
                with self._transaction(durable=False):
                    self._connection.execute(
                        'DELETE FROM records WHERE topic = ? AND "offset" <= ?', (topic, last)
                    )
                return True
        return False

    def _expired(self, topic: str, committed: int, before: int) -> int | None:
        """Return the last offset of the oldest expired records, within the bounds of a piece."""
        last, size = None, 0
        for offset, at, length in self._rows(
            'SELECT "offset", at, length(value) FROM records'
            ' WHERE topic = ? AND "offset" < ? ORDER BY "offset" LIMIT ?',
            *(topic, committed, _PIECE_RECORDS),
        ):
            if at >= before or size >= _PIECE_BYTES:
                break
            last, size = offset, size + length
        return last

    def shrink(self) -> bool:
        """Give a bounded number of free pages back to the file system.

        Returns:
            Whether there is more to give back.
        """
        if self._pragma("auto_vacuum") != _INCREMENTAL:
            self._convert()
            return False
        excess = self._pragma("freelist_count") - _FREE_PAGES
        if excess > 0:
            # As a script: execute() would stop after the first page.
            pages = min(excess, _PIECE_PAGES)
            self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")
        return excess > _PIECE_PAGES

    def _convert(self) -> None:
        """Rewrite a file of an earlier version, which cannot shrink, once it is nearly empty."""
        if self._pragma("page_count") - self._pragma("freelist_count") <= _SMALL_PAGES:
            self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._connection.execute("VACUUM")

    def truncate_wal(self) -> None:
        """Move the WAL into the database and empty its file, unless another process reads."""
        self._connection.execute("PRAGMA busy_timeout = 0")
        self._rows("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")

    def _rows(self, statement: str, *parameters: object) -> list[Any]:
        return self._connection.execute(statement, parameters).fetchall()

    def _pragma(self, name: str) -> int:
        [(value,)] = self._rows(f"PRAGMA {name}")
        return int(value)

    @contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[None]:
        """Commit the block, or roll back, also if COMMIT itself fails on a full disk.

        Args:
            durable: Whether the transaction has to outlast a power failure, which costs an fsync.
        """
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def is_damage(error: Error) -> bool:
    """Return whether an error shows a damaged file, unlike a full disk or a locked file."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE


def find_damage(path: Path, seconds: float) -> str | None:
    """Check the integrity of a file without writing.

    Args:
        path: The file.
        seconds: Time after which an unfinished check ends.

    Returns:
        The first fault that was found in time, or None.

    Raises:
        Error: The file cannot be read for another reason than damage.
    """
    deadline = time.monotonic() + seconds
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _PROGRESS_STEPS)
        try:
            [(found,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
        except Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return None
            if not is_damage(error):
                raise
            found = str(error)
    return None if found == "ok" else " ".join(found.split())


def _pack(headers: Sequence[tuple[str, str]]) -> str:
    return msgspec.json.encode(headers).decode() if headers else ""


def _unpack(text: str) -> tuple[tuple[str, str], ...]:
    return msgspec.json.decode(text, type=tuple[tuple[str, str], ...]) if text else ()

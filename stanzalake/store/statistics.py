"""Statistics: how much the archives hold, and what that takes on the disk. Only reads."""

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from stanzalake.model.position import from_milliseconds, seconds_ago
from stanzalake.store.client import Store

_DAY = 86_400
_OLDEST = "fromUnixTimestamp64Milli(toInt64(bitShiftRight(min(position), 16)), 'UTC')"
_NEWEST = "fromUnixTimestamp64Milli(toInt64(bitShiftRight(max(position), 16)), 'UTC')"


class Host(msgspec.Struct, frozen=True):
    """The archives of one host.

    Attributes:
        host: The domain of their owners.
        messages: Messages that are not expired. A repeated one counts again until the store has
            merged it.
        owners: Owners who have one; exact up to some ten thousands, within a few percent beyond.
        oldest: When the first of them was archived, in UTC.
        newest: When the last was.
    """

    host: str
    messages: int
    owners: int
    oldest: datetime
    newest: datetime


class Day(msgspec.Struct, frozen=True):
    """The messages of one day.

    Attributes:
        day: The day in UTC.
        messages: As `Host` counts them.
    """

    day: date
    messages: int


class Disk(msgspec.Struct, frozen=True):
    """The table of messages as this server's disk holds it, expired and repeated rows included.

    Attributes:
        rows: Rows in it.
        bytes_on_disk: What they take, indexes included.
        uncompressed_bytes: What they would take without compression.
    """

    rows: int
    bytes_on_disk: int
    uncompressed_bytes: int

    @property
    def ratio(self) -> float:
        """How many times smaller compression makes them; 0 if there are none."""
        return self.uncompressed_bytes / self.bytes_on_disk if self.bytes_on_disk else 0.0

    @property
    def bytes_per_row(self) -> float:
        """Bytes on disk of one row; 0 if there are none."""
        return self.bytes_on_disk / self.rows if self.rows else 0.0


class Statistics(msgspec.Struct, frozen=True):
    """All of it.

    Attributes:
        hosts: Those with messages, the largest first.
        days: The last days, oldest first, those without a message included.
        disk: What it takes on the disk.
    """

    hosts: Sequence[Host]
    days: Sequence[Day]
    disk: Disk

    @property
    def messages(self) -> int:
        """Messages of all hosts."""
        return sum(host.messages for host in self.hosts)

    @property
    def owners(self) -> int:
        """Owners of all hosts."""
        return sum(host.owners for host in self.hosts)


def read(
    store: Store, days: int, expires_after: int | None, now: float | None = None
) -> Statistics:
    """Count what the archives hold. On large tables this reads two columns of every message.

    Args:
        store: The store.
        days: How many days to count separately, today included.
        expires_after: Seconds for which a message is shown; None for ever.
        now: The unix time in seconds; the clock's if None.

    Raises:
        StoreUnavailable: The store did not answer this time.
    """
    now = time.time() if now is None else now
    oldest = seconds_ago(expires_after, now)
    return Statistics(
        hosts=_hosts(store, oldest), days=_days(store, oldest, now, days), disk=_disk(store)
    )


def _hosts(store: Store, oldest: int) -> Sequence[Host]:
    rows = store.select(
        f"""
        SELECT splitByChar('@', owner)[-1] AS host, count() AS messages, uniq(owner),
            {_OLDEST}, {_NEWEST}
        FROM {store.table} WHERE position >= {{oldest:UInt64}}
        GROUP BY host ORDER BY messages DESC, host""",  # noqa: S608  # an identifier
        {"oldest": oldest},
    )
    return [
        Host(host, messages, owners, first.replace(tzinfo=UTC), last.replace(tzinfo=UTC))
        for host, messages, owners, first, last in rows
    ]


def _days(store: Store, oldest: int, now: float, number: int) -> Sequence[Day]:
    today = int(now) // _DAY
    first = today - number + 1
    rows = store.select(
        f"""
        SELECT intDiv(bitShiftRight(position, 16), {1000 * _DAY}) AS day, count()
        FROM {store.table} WHERE position >= {{low:UInt64}} GROUP BY day""",  # noqa: S608  # an identifier
        {"low": max(oldest, _position(first * _DAY))},
    )
    counted = {int(day): int(messages) for day, messages in rows}
    epoch = date(1970, 1, 1)
    return [Day(epoch + timedelta(n), counted.get(n, 0)) for n in range(first, today + 1)]


def _disk(store: Store) -> Disk:
    [row] = store.select(
        "SELECT sum(rows), sum(bytes_on_disk), sum(data_uncompressed_bytes) FROM system.parts"
        " WHERE active AND database = currentDatabase() AND table IN {tables:Array(String)}",
        {"tables": [store.table, f"{store.table}_local"]},
    )
    return Disk(*row)


def _position(seconds: float) -> int:
    return from_milliseconds(max(0, int(1000 * seconds)))

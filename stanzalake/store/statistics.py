"""Archive statistics: messages per host and day, and disk usage."""

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from stanzalake.model.position import from_milliseconds, to_milliseconds
from stanzalake.model.retention import Retention
from stanzalake.store.client import Store
from stanzalake.store.erasures import ERASURES, VISIBLE_TO_ALL
from stanzalake.store.retention import Horizon, horizon
from stanzalake.store.statement import MESSAGES, NO_PRESENCE, select

_DAY = 86_400
_HOSTS = """
splitByChar('@', owner)[-1] AS host, count() AS messages, uniq(owner),
fromUnixTimestamp64Milli(toInt64(bitShiftRight(min(position), 16)), 'UTC'),
fromUnixTimestamp64Milli(toInt64(bitShiftRight(max(position), 16)), 'UTC')"""
_DAYS = f"intDiv(bitShiftRight(position, 16), {1000 * _DAY}) AS day, count()"
_OWNERS_AHEAD = """
SELECT DISTINCT owner FROM (
    SELECT owner FROM {messages:Identifier} WHERE position > {position:UInt64}
    UNION ALL SELECT owner FROM {preferences:Identifier} WHERE position > {position:UInt64}
    UNION ALL SELECT owner FROM {erasures:Identifier} WHERE position > {position:UInt64}
    UNION ALL SELECT owner FROM {tombstones:Identifier} WHERE position > {position:UInt64}
    UNION ALL SELECT owner FROM {own_retention:Identifier} WHERE position > {position:UInt64}
) ORDER BY owner"""
_SOURCE = f"{MESSAGES} {ERASURES}"


class Host(msgspec.Struct, frozen=True):
    """The archives of a host.

    Attributes:
        host: Domain of the owners.
        messages: Messages neither expired nor erased. Duplicates count until they are merged.
        owners: Owners with a message; exact up to some ten thousands, within a few percent above.
        oldest: Time of the oldest message, UTC.
        newest: Time of the newest message, UTC.
    """

    host: str
    messages: int
    owners: int
    oldest: datetime
    newest: datetime


class Day(msgspec.Struct, frozen=True):
    """Messages of a day.

    Attributes:
        day: The day in UTC.
        messages: Counted as in `Host`.
    """

    day: date
    messages: int


class Disk(msgspec.Struct, frozen=True):
    """The messages table on this server's disk, expired and duplicate rows included.

    Attributes:
        rows: Number of rows.
        bytes_on_disk: Compressed bytes, indexes included.
        uncompressed_bytes: Bytes before compression.
    """

    rows: int
    bytes_on_disk: int
    uncompressed_bytes: int

    @property
    def ratio(self) -> float:
        """Compression ratio; 0 for an empty table."""
        return self.uncompressed_bytes / self.bytes_on_disk if self.bytes_on_disk else 0.0

    @property
    def bytes_per_row(self) -> float:
        """Bytes on disk per row; 0 for an empty table."""
        return self.bytes_on_disk / self.rows if self.rows else 0.0


class Statistics(msgspec.Struct, frozen=True):
    """Statistics of all archives.

    Attributes:
        hosts: Hosts with messages, largest first.
        days: The last days, oldest first, empty days included.
        disk: Disk usage.
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


def read(store: Store, days: int, retention: Retention, now: float | None = None) -> Statistics:
    """Compute statistics. Scans three columns of every message.

    Args:
        store: The store.
        days: Number of days to list, today included.
        retention: For how long messages are kept.
        now: Unix time in seconds; the current time if None.

    Raises:
        StoreUnavailable: No answer; may work later.
    """
    now = time.time() if now is None else now
    oldest = horizon(retention, now)
    return Statistics(
        hosts=_hosts(store, oldest), days=_days(store, oldest, now, days), disk=_disk(store)
    )


def extent(
    store: Store, retention: Retention, now: float | None = None
) -> tuple[int, datetime | None, datetime | None]:
    """Return the number of messages, and the times of the oldest and the newest.

    Reads no message: ClickHouse knows the three of each part. So expired, erased and duplicate
    messages count until they are removed or merged. Arguments and errors are those of `read`.
    """
    oldest = retention.lowest_horizon(time.time() if now is None else now)
    [(messages, first, last)] = store.select(
        "SELECT count(), min(position), max(position) FROM {messages:Identifier}"
    )
    return (messages, _moment(max(first, oldest)), _moment(last)) if messages else (0, None, None)


def _moment(position: int) -> datetime:
    return datetime.fromtimestamp(to_milliseconds(position) / 1000, UTC)


def owners_ahead(store: Store, position: int) -> Sequence[str]:
    """Return the owners with a message or anything else above a position.

    Raises:
        StoreUnavailable: No answer; may work later.
    """
    rows = store.select(_OWNERS_AHEAD, {"position": position})
    return [owner for (owner,) in rows]


def _visible(oldest: Horizon) -> Sequence[str]:
    return f"position >= {oldest.expression}", VISIBLE_TO_ALL, NO_PRESENCE


def _hosts(store: Store, oldest: Horizon) -> Sequence[Host]:
    tail = "GROUP BY host ORDER BY messages DESC, host"
    statement = select(_HOSTS, _visible(oldest), tail, _SOURCE)
    rows = store.select(statement, oldest.parameters)
    return [
        Host(host, messages, owners, first.replace(tzinfo=UTC), last.replace(tzinfo=UTC))
        for host, messages, owners, first, last in rows
    ]


def _days(store: Store, oldest: Horizon, now: float, number: int) -> Sequence[Day]:
    today = int(now) // _DAY
    first = today - number + 1
    where = ["position >= {low:UInt64}", *_visible(oldest)]
    parameters = {"low": _position(first * _DAY), **oldest.parameters}
    rows = store.select(select(_DAYS, where, "GROUP BY day", _SOURCE), parameters)
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

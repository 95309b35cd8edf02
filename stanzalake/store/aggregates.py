"""Aggregates of days and months for the analysts' views.

A view counts the days that have changed since they were computed, and reads the others from tables.
Computing a day only makes its views faster: they are exact before, meanwhile and after. Months are
made of the views of days, and otherwise alike.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import Retention
from stanzalake.store.chunks import split
from stanzalake.store.client import Store
from stanzalake.store.migrations import (
    AGGREGATES,
    FORGET_RECENT,
    MONTHLY_AGGREGATES,
    TOUCH_ALL,
    Target,
)
from stanzalake.store.own_retention import OwnRetentions
from stanzalake.store.statement import select

log = logging.getLogger(__name__)

_QUIET = timedelta(minutes=10)
"""A day that changed within this time goes on changing, most likely: views count it."""
_SETTLING = timedelta(minutes=1)
"""From the insert of a day's rows until views read them."""
_KEPT = timedelta(hours=1)
"""For how long the rows of a former computation are kept, as statements may be reading them."""

_BATCH_MESSAGES = 250_000
"""Messages of the days that are computed together, more only of a single day."""
_BATCH_DAYS = 92
"""Days that are computed together."""

_FIRST_DAY = date(1970, 1, 1)
"""The day that ClickHouse's dates begin with: the one before it is the last, in 2149."""
_DAY_SECONDS = 86_400
_RECENT_DAYS = 2
"""Days before the present one that are counted beside it: one, and the evening before that."""

# A day changes with the day before, whose messages it answers, and as well while the messages of
# both expire, from the beginning of the one plus the retention to the end of the other.
_DUE = """
SELECT touched.day AS day
FROM
(
    SELECT changed AS day, max(at) AS at
    FROM {touched:Identifier} AS days ARRAY JOIN [days.day, days.day + 1] AS changed
    GROUP BY changed HAVING countIf(changed = days.day) > 0
) AS touched
LEFT JOIN
(
    SELECT day, max(as_of) AS as_of FROM {computed:Identifier}
    WHERE aggregates >= {aggregates:UInt8} GROUP BY day
) AS computed ON computed.day = touched.day
WHERE touched.at < {quiet:DateTime64(6, 'UTC')}
    AND (
        computed.as_of <= touched.at + INTERVAL 1 MINUTE
        OR arrayExists(
            period -> toUnixTimestamp(toDateTime(day - 1, 'UTC')) + period <= {now:UInt64}
                AND toUnixTimestamp(computed.as_of)
                    < toUnixTimestamp(toDateTime(day + 1, 'UTC')) + period,
            {periods:Array(UInt64)}
        )
    )
ORDER BY day DESC
"""
# A month whose days are all computed, some of them since the month was. A day that is computed now
# takes effect in a minute: the month follows in the next run.
_DUE_MONTHS = """
SELECT days.month AS month
FROM
(
    SELECT toStartOfMonth(day) AS month, max(effective) AS effective FROM {computed:Identifier}
    WHERE aggregates >= {of_days:UInt8} GROUP BY month
) AS days
LEFT JOIN
(
    SELECT month, max(as_of) AS as_of FROM {computed_months:Identifier}
    WHERE aggregates >= {of_months:UInt8} GROUP BY month
) AS computed ON computed.month = days.month
WHERE days.effective BETWEEN computed.as_of AND now64(6, 'UTC')
    AND days.month NOT IN (SELECT toStartOfMonth(day) FROM {dirty:Identifier})
ORDER BY month DESC
"""
_FORMER = """
SELECT toUnixTimestamp64Micro(as_of)
FROM {record:Identifier}
WHERE as_of < {kept:DateTime64(6, 'UTC')}
    AND ({period:Identifier}, as_of) NOT IN
    (
        SELECT {period:Identifier}, max(as_of) FROM {record:Identifier}
        WHERE aggregates >= {aggregates:UInt8} GROUP BY {period:Identifier}
    )
"""
_OF_FORMER = "toUnixTimestamp64Micro(as_of) IN {former:Array(Int64)}"


def touch_all(store: Store) -> None:
    """Record all days as changed, after rows came by another way than an insert.

    Raises:
        StoreUnavailable: Outcome unknown; repeat.
    """
    [(exists,)] = store.select("EXISTS TABLE {touched:Identifier}")
    if exists:
        store.command(TOUCH_ALL)
        store.command(FORGET_RECENT)


_SIZES = """
SELECT toDate(toDateTime(intDiv(position, 65536000), 'UTC')) AS day, count()
FROM {messages:Identifier} WHERE day IN {days:Array(Date)} GROUP BY day"""
# The days' messages and those of the evenings before, read once for all aggregates.
_STAGE = """
INSERT INTO {{staged:Identifier}} ({columns}, as_of)
SELECT {columns}, {{as_of:DateTime64(6, 'UTC')}}
FROM {{traffic:Identifier}}
WHERE day BETWEEN {{first:Date}} AND {{last:Date}}
    AND (day IN {{days:Array(Date)}} OR day + 1 IN {{days:Array(Date)}})
""".format(
    columns="day, at, local_hour, host, owner_hash, peer_host, peer_hash, direction, kind,"
    " body_length, encrypted, is_reaction, message_id_hash, occupant_hash, from_occupant"
)
_STAGED = select("*", ["as_of = {as_of:DateTime64(6, 'UTC')}"], source="{staged:Identifier}")
_LEFT = select(
    "DISTINCT toUnixTimestamp64Micro(as_of)",
    ["as_of < {kept:DateTime64(6, 'UTC')}"],
    source="{staged:Identifier}",
)


# Of a server: the parts of several shards are not numbered together.
_READ_RECENT = """
INSERT INTO {recent:Identifier}
SELECT {as_of:DateTime64(6, 'UTC')}, * FROM {recent_traffic:Identifier}
WHERE position >= {low:UInt64}"""
_LAST_BLOCK = select(
    "max(block)", ["as_of = {as_of:DateTime64(6, 'UTC')}"], source="{recent:Identifier}"
)
# A statement may be about to read those before the last, if that is a new one.
_LAST_READ = select("max(at)", ["is_read"], source="{recent_reads:Identifier}")
_FORMER_READS = select(
    "DISTINCT toUnixTimestamp64Micro(as_of)",
    [f"as_of < ({_LAST_READ})", f"({_LAST_READ}) < {{quiet:DateTime64(6, 'UTC')}}"],
    source="{recent:Identifier}",
)


class _Grain(NamedTuple):
    """The time span of aggregates: days, or months.

    Attributes:
        period: Name of the column.
        record: Suffix of the table of completed computations.
        version: Version of the computations: former ones made fewer aggregates, or others.
        statements: Statements that aggregate, by the name of their view.
        conditions: Conditions on the period for these statements, by placeholder.
        moment: Moment of a computation of the period.
    """

    period: str
    record: str
    version: int
    statements: Mapping[str, str]
    conditions: Mapping[str, str]
    moment: str


# The rows of a computation are removed by its moment, so each of the days that are computed
# together has its own.
_DAYS = _Grain(
    "day",
    "_computed",
    10,
    AGGREGATES,
    {"days": "day IN {days:Array(Date)}", "days_and_eves": "true", "traffic": f"({_STAGED})"},
    "{as_of:DateTime64(6, 'UTC')} + toIntervalMicrosecond(indexOf({days:Array(Date)}, day))",
)
_MONTHS = _Grain(
    "month",
    "_computed_months",
    1,
    MONTHLY_AGGREGATES,
    {"months": "day BETWEEN {month:Date} AND toLastDayOfMonth({month:Date})"},
    "{as_of:DateTime64(6, 'UTC')}",
)


class _ComputedDay(NamedTuple):
    day: date
    as_of: datetime
    effective: datetime
    aggregates: int = _DAYS.version


class _RecentRead(NamedTuple):
    at: datetime
    low: int
    block: int
    is_read: bool = True


class _ComputedMonth(NamedTuple):
    month: date
    as_of: datetime
    effective: datetime
    aggregates: int = _MONTHS.version


class Aggregates:
    """Computes the aggregates of days and months. All calls block.

    Args:
        store: The store, as a user that may read the view of traffic.
        cluster: Name of the cluster that the tables are on; empty for a single server.
        retention: For how long messages are kept.
    """

    def __init__(self, store: Store, cluster: str, retention: Retention) -> None:
        self._store = store
        self._target = Target(store.table, cluster)
        self._periods = [period for period in retention.periods if period is not None]

    def due(self, now: float) -> Sequence[date]:
        """Return the days to compute, the newest first.

        Args:
            now: Unix time in seconds.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        moment = datetime.fromtimestamp(now, UTC)
        periods = [*self._periods, *OwnRetentions(self._store).periods()]
        parameters = {
            "aggregates": _DAYS.version,
            "now": int(now),
            "quiet": moment - _QUIET,
            "periods": periods,
        }
        return [day for (day,) in self._store.select(_DUE, parameters)]

    def due_months(self) -> Sequence[date]:
        """Return the first days of the months to compute, the newest first; raises as `due` does.

        Those are due some of whose days were computed, and took effect, since they were.
        """
        versions = {"of_days": _DAYS.version, "of_months": _MONTHS.version}
        return [month for (month,) in self._store.select(_DUE_MONTHS, versions)]

    def batches(self, days: Sequence[date]) -> Iterator[Sequence[date]]:
        """Split days to compute, in their order, for calls of `compute`; raises as `due` does."""
        rows = self._store.select(_SIZES, {"days": days}) if len(days) > 1 else ()
        sizes = {row[0]: row[1] for row in rows}
        return split(days, lambda day: sizes.get(day, 0), _BATCH_MESSAGES, _BATCH_DAYS)

    def compute(self, days: Sequence[date]) -> None:
        """Compute the aggregates of days, and have the views read them; raises as `due` does.

        May be interrupted: rows that are not recorded as complete are not read.

        Args:
            days: At least one.
        """
        as_of = self._now()
        eve = max(_FIRST_DAY, min(days) - timedelta(days=1))
        span = {"days": days, "first": eve, "last": max(days)}
        self._store.command(_STAGE, {**span, "as_of": as_of})
        self._insert(_DAYS, {"days": days}, as_of)
        effective = self._now() + _SETTLING
        moments = (as_of + timedelta(microseconds=n) for n in range(1, len(days) + 1))
        rows = [_ComputedDay(*each, effective) for each in zip(days, moments, strict=True)]
        self._store.insert(rows, _DAYS.record)
        self._drop("staged", [int(as_of.timestamp()) * 1_000_000 + as_of.microsecond])
        log.info("aggregated the messages of %d days, %s to %s", len(days), min(days), max(days))

    def compute_month(self, month: date) -> None:
        """Compute the aggregates of a month from those of its days, as `compute` those of a day."""
        as_of = self._now()
        self._insert(_MONTHS, {"month": month}, as_of)
        self._store.insert([_ComputedMonth(month, as_of, self._now() + _SETTLING)], _MONTHS.record)
        log.info("aggregated the days of %s", month.strftime("%Y-%m"))

    def read_recent(self, now: float) -> None:
        """Read the messages of the last days without texts, for views that count these days.

        The views read those alone that come later, wherever the parts of the others are merged to.
        Not on a cluster. Raises as `due` does.

        Args:
            now: Unix time in seconds.
        """
        if self._target.cluster:
            return
        as_of = self._now()
        low = from_milliseconds((int(now) // _DAY_SECONDS - _RECENT_DAYS) * _DAY_SECONDS * 1000)
        self._store.command(_READ_RECENT, {"as_of": as_of, "low": low})
        [(block,)] = self._store.select(_LAST_BLOCK, {"as_of": as_of})
        self._store.insert([_RecentRead(as_of, low, block)], "_recent_reads")

    def _now(self) -> datetime:
        [(now,)] = self._store.select("SELECT now64(6, 'UTC')")
        return now  # type: ignore[no-any-return]  # of the driver

    def _insert(self, grain: _Grain, periods: Mapping[str, Any], as_of: datetime) -> None:
        parameters = {**periods, "as_of": as_of}
        for name, statement in grain.statements.items():
            rows = statement.format(table=self._store.table, **grain.conditions)
            table = f"{self._store.table}_{name}_rows"
            self._store.command(
                f"INSERT INTO {table} SELECT *, {grain.moment} FROM ({rows})",  # noqa: S608  # our own
                parameters,
            )

    def remove_former(self, now: float) -> None:
        """Remove the rows of former computations from the disk; raises as `due` does."""
        kept = datetime.fromtimestamp(now, UTC) - _KEPT
        for grain in (_DAYS, _MONTHS):
            self._remove_former(grain, kept)
        # Of interrupted computations.
        self._drop("staged", self._moments(_LEFT, {"kept": kept}))
        quiet = datetime.fromtimestamp(now, UTC) - _QUIET
        self._drop("recent", self._moments(_FORMER_READS, {"quiet": quiet}))

    def _moments(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[int]:
        return [moment for (moment,) in self._store.select(statement, parameters)]

    def _drop(self, table: str, moments: Sequence[int]) -> None:
        for moment in moments:
            self._store.command(f"ALTER TABLE {{{table}:Identifier}} DROP PARTITION {moment}")

    def _remove_former(self, grain: _Grain, kept: datetime) -> None:
        parameters = {
            "record": self._store.table + grain.record,
            "period": grain.period,
            "aggregates": grain.version,
            "kept": kept,
        }
        former = [moment for (moment,) in self._store.select(_FORMER, parameters)]
        for suffix in self._with_rows(grain, former) if former else ():
            table = self._target.on_every_table(suffix)
            self._store.command(
                f"ALTER TABLE {table} DELETE WHERE {_OF_FORMER} SETTINGS mutations_sync = 0",
                {"former": former},
            )

    def _with_rows(self, grain: _Grain, former: Sequence[Any]) -> Iterator[str]:
        for name in grain.statements:
            table = f"{self._store.table}_{name}_rows"
            statement = f"SELECT 1 FROM {table} WHERE {_OF_FORMER} LIMIT 1"  # noqa: S608  # our own
            if self._store.select(statement, {"former": former}):
                yield f"_{name}_rows"

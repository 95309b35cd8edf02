"""Aggregates of days for the analysts' views.

A view counts the days that have changed since they were computed, and reads the others from tables.
Computing a day only makes its views faster: they are exact before, meanwhile and after.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from stanzalake.model.retention import Retention
from stanzalake.store.client import Store
from stanzalake.store.migrations import AGGREGATES, TOUCH_ALL, Target
from stanzalake.store.own_retention import OwnRetentions

log = logging.getLogger(__name__)

_QUIET = timedelta(minutes=10)
"""A day that changed within this time goes on changing, most likely: views count it."""
_SETTLING = timedelta(minutes=1)
"""From the insert of a day's rows until views read them."""
_KEPT = timedelta(hours=1)
"""For how long the rows of a former computation are kept, as statements may be reading them."""

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
_FORMER = """
SELECT toUnixTimestamp64Micro(as_of)
FROM {computed:Identifier}
WHERE as_of < {kept:DateTime64(6, 'UTC')}
    AND (day, as_of) NOT IN
    (
        SELECT day, max(as_of) FROM {computed:Identifier}
        WHERE aggregates >= {aggregates:UInt8} GROUP BY day
    )
"""
_ALL = {"aggregates": 10}
"""Version of the computations: former ones made fewer aggregates, or counted pairs otherwise."""
_DAY, _DAY_AND_EVE = "day = {day:Date}", "day IN ({day:Date} - 1, {day:Date})"
_OF_FORMER = "toUnixTimestamp64Micro(as_of) IN {former:Array(Int64)}"


def touch_all(store: Store) -> None:
    """Record all days as changed, after rows came by another way than an insert.

    Raises:
        StoreUnavailable: Outcome unknown; repeat.
    """
    [(exists,)] = store.select("EXISTS TABLE {touched:Identifier}")
    if exists:
        store.command(TOUCH_ALL)


class _Computed(NamedTuple):
    day: date
    as_of: datetime
    effective: datetime
    aggregates: int = _ALL["aggregates"]


class Aggregates:
    """Computes the aggregates of days. All calls block.

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
        parameters = {**_ALL, "now": int(now), "quiet": moment - _QUIET, "periods": periods}
        return [day for (day,) in self._store.select(_DUE, parameters)]

    def compute(self, day: date) -> None:
        """Compute a day's aggregates, and have the views read them; raises as `due` does.

        May be interrupted: rows that are not recorded as complete are not read.
        """
        [(as_of,)] = self._store.select("SELECT now64(6, 'UTC')")
        parameters = {"day": day, "as_of": as_of}
        for name, statement in AGGREGATES.items():
            rows = statement.format(table=self._store.table, days=_DAY, days_and_eves=_DAY_AND_EVE)
            table = f"{self._store.table}_{name}_rows"
            self._store.command(
                f"INSERT INTO {table} SELECT *, {{as_of:DateTime64(6, 'UTC')}} FROM ({rows})",  # noqa: S608  # our own
                parameters,
            )
        [(done,)] = self._store.select("SELECT now64(6, 'UTC')")
        self._store.insert([_Computed(day, as_of, done + _SETTLING)], "_computed")
        log.info("aggregated the messages of %s", day)

    def remove_former(self, now: float) -> None:
        """Remove the rows of former computations from the disk; raises as `due` does."""
        kept = datetime.fromtimestamp(now, UTC) - _KEPT
        rows = self._store.select(_FORMER, {**_ALL, "kept": kept})
        former = [moment for (moment,) in rows]
        for suffix in self._with_rows(former) if former else ():
            table = self._target.on_every_table(suffix)
            self._store.command(
                f"ALTER TABLE {table} DELETE WHERE {_OF_FORMER} SETTINGS mutations_sync = 0",
                {"former": former},
            )

    def _with_rows(self, former: Sequence[Any]) -> Iterator[str]:
        for name in AGGREGATES:
            table = f"{self._store.table}_{name}_rows"
            statement = f"SELECT 1 FROM {table} WHERE {_OF_FORMER} LIMIT 1"  # noqa: S608  # our own
            if self._store.select(statement, {"former": former}):
                yield f"_{name}_rows"

"""Rows of the analysts' views as Parquet files, one for each month."""

from collections.abc import Sequence
from datetime import date
from typing import BinaryIO

from stanzalake.store.client import Store
from stanzalake.store.statement import select

_MONTHS = select(
    "DISTINCT toStartOfMonth(day) AS month",
    ["day BETWEEN {start:Date} AND {end:Date}"],
    "ORDER BY month",
    "{touched:Identifier}",
)
_DAYS = "day >= {month:Date} AND day < {month:Date} + INTERVAL 1 MONTH"
_SPAN = "day BETWEEN {start:Date} AND {end:Date}"
_UNBOUNDED = "SETTINGS max_result_bytes = 0"
"""Other processes beside `up` have a bound, which is of rows before they are compressed."""


def months(store: Store, start: date, end: date) -> Sequence[date]:
    """Return the first days of the months with messages within a span of days.

    Raises:
        StoreUnavailable: No answer; may work later.
    """
    return [month for (month,) in store.select(_MONTHS, {"start": start, "end": end})]


def count(store: Store, view: str, month: date, start: date, end: date) -> int:
    """Return the number of a month's rows within a span of days; raises as `months` does."""
    statement = select("count()", [_DAYS, _SPAN], source="{view:Identifier}")
    parameters = {"view": f"{store.table}_{view}", "month": month, "start": start, "end": end}
    return int(store.select(statement, parameters)[0][0])


def write_parquet(  # noqa: PLR0913, PLR0917  # what, of when, and where to
    store: Store, view: str, month: date, start: date, end: date, file: BinaryIO
) -> None:
    """Write a month's rows of a view within a span of days; raises as `months` does."""
    statement = select("*", [_DAYS, _SPAN], _UNBOUNDED, "{view:Identifier}")
    parameters = {"view": f"{store.table}_{view}", "month": month, "start": start, "end": end}
    store.download(statement, parameters, "Parquet", file)

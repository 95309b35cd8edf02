"""The data dictionary: the views for analysts, their columns and what these mean."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from stanzalake.store.client import Store

VIEWS_OF_DAYS = (
    "daily",
    "active",
    "pairs",
    "answers",
    "rooms",
    "owners",
    "contents",
    "response_times",
    "servers",
    "occupants",
)
"""The analysts' views of computed days, each named after the messages table."""

VIEWS_OF_MONTHS = ("monthly_owners", "monthly_conversations", "monthly_senders")
"""Those of computed months."""

VIEWS = (*VIEWS_OF_DAYS, *VIEWS_OF_MONTHS, "traffic", "bodies")
"""All of the analysts' views."""

_STATEMENT = """
SELECT columns.table, tables.comment, columns.name, columns.type, columns.comment
FROM system.columns AS columns
INNER JOIN system.tables AS tables
    ON tables.database = columns.database AND tables.name = columns.table
WHERE columns.database = currentDatabase() AND columns.table IN {views:Array(String)}
ORDER BY indexOf({views:Array(String)}, columns.table), columns.position
"""


class Column(NamedTuple):
    """A column, its ClickHouse type, and its meaning."""

    name: str
    type: str
    comment: str


class View(NamedTuple):
    """A view, the meaning of its rows, and its columns."""

    name: str
    comment: str
    columns: Sequence[Column]


def read(store: "Store") -> Sequence[View]:
    """Return the views that the store's user may read.

    Raises:
        StoreUnavailable: No answer; may work later.
    """
    names = [f"{store.table}_{view}" for view in VIEWS]
    rows = store.select(_STATEMENT, {"views": names})
    return [
        View(*view, [Column(*row[2:]) for row in columns])
        for view, columns in groupby(rows, key=lambda row: (row[0], row[1]))
    ]

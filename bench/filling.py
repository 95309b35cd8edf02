"""Fills an embedded store with a corpus, in a process of its own: an engine serves one directory.

python -m bench.filling MESSAGES SEED END OWNER_SIZE, with the deployment's settings in the
environment. The tables are there already, so the store of any revision is filled alike.
"""

import sys
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

from bench.corpus import Corpus
from stanzalake.config import settings
from stanzalake.store.client import Row, Store

_INSERTS = 60


def main(messages: int, seed: int, end: int, owner_size: int) -> None:
    """Write the corpus in many inserts, merges running."""
    corpus = Corpus(messages, seed, end, owner_size=owner_size)
    store = Store.of(settings.load())
    columns = _columns(store)
    for rows in corpus.chunks(max(1, messages // _INSERTS)):
        store.insert(_fitting(rows, columns))
    store.close()


def _columns(store: Store) -> Sequence[str]:
    """Return the columns of rows that the table of a revision has."""
    found = store.select(
        "SELECT name FROM system.columns"
        " WHERE database = currentDatabase() AND table = {table:String}",
        {"table": store.table},
    )
    names = {name for (name,) in found}
    return [field for field in Row._fields if field in names]


def _fitting(rows: Sequence[Row], columns: Sequence[str]) -> Sequence[Any]:
    """Return rows without the columns that later revisions added."""
    if len(columns) == len(Row._fields):
        return rows
    known = namedtuple("known", columns)  # type: ignore[misc]  # noqa: PYI024  # as told by a table
    return [known(*(getattr(row, column) for column in columns)) for row in rows]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

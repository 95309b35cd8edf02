"""The statements of all migrations, for a new store: each view is created once."""

import re
from collections.abc import Iterable, Iterator, Sequence
from graphlib import TopologicalSorter

_VIEW = "CREATE OR REPLACE VIEW "
_MUTATION = "mutations_sync"
"""In statements that rewrite rows, of which there are none."""


def statements(table: str, migrated: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield statements that leave the schema that those of all migrations leave.

    The tables come first, then each view as its last migration defines it, behind those that it
    reads.

    Args:
        table: Name of the messages table.
        migrated: The migrations' statements in order, each with that of its Distributed table.
    """
    of_table = re.compile(rf"\b{table}(_\w+)")
    views: dict[str, Sequence[str]] = {}
    for group in migrated:
        _, is_view, text = group[0].partition(_VIEW)
        if is_view:
            views[_suffixes(of_table, text)[0]] = group
        elif _MUTATION not in group[0]:
            yield from group
    sources = {view: _suffixes(of_table, group[0]) for view, group in views.items()}
    reads = {view: {s for s in sources[view] if s in views} - {view} for view in views}
    for view in TopologicalSorter(reads).static_order():
        yield from views[view]


def _suffixes(of_table: re.Pattern[str], text: str) -> list[str]:
    """Return the suffixes of the tables and views in a statement, in order."""
    return [suffix.removesuffix("_local") for suffix in of_table.findall(text)]

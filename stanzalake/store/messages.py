"""Stored messages of an owner, read in full: for export."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stanzalake.model.position import MAX_POSITION
from stanzalake.store.client import Row, Store

_PAGE_ROWS = 2000
_PAGE_BYTES = 4 * 1024 * 1024
"""Limit on the bytes of stanzas per page; the first stanza always fits."""


@dataclass(frozen=True)
class MessageRange:
    """A range of an owner's messages.

    Attributes:
        owner: Bare JID.
        peer: Bare JID of the other party; empty for all.
        low: Lowest position, inclusive.
        high: Highest position, inclusive.
    """

    owner: str
    peer: str = ""
    low: int = 0
    high: int = MAX_POSITION


class Messages:
    """Reader of stored messages. All calls block.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def count(self, span: MessageRange) -> int:
        """Count the messages of a range; raises as `Store.select` does."""
        where, parameters = _where(span)
        [(number,)] = self._store.select(
            f"SELECT uniqExact(position) FROM {self._store.table} WHERE {where}",  # noqa: S608  # an identifier
            parameters,
        )
        return int(number)

    def read(self, span: MessageRange) -> Iterator[Row]:
        """Yield messages oldest first, each once, fetching page by page.

        Concurrent inserts and deletes beyond the current page are seen.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        low = span.low
        while page := self._page(MessageRange(span.owner, span.peer, low, span.high)):
            for row in page:
                # Duplicates are adjacent until a merge removes them.
                if row.position >= low:
                    low = row.position + 1
                    yield row

    def _page(self, span: MessageRange) -> Sequence[Row]:
        where, parameters = _where(span)
        rows = self._store.select(
            f"""
            SELECT * FROM
            (
                SELECT {", ".join(Row._fields)} FROM {self._store.table}
                WHERE {where} ORDER BY position LIMIT {_PAGE_ROWS}
            )
            QUALIFY sum(length(stanza))
                OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - length(stanza) < {_PAGE_BYTES}
            ORDER BY position SETTINGS max_threads = 1""",  # noqa: S608  # values travel as parameters
            parameters,
        )
        return [Row(*row) for row in rows]


def _where(span: MessageRange) -> tuple[str, Mapping[str, Any]]:
    terms = "owner = {owner:String} AND position BETWEEN {low:UInt64} AND {high:UInt64}"
    parameters = {"owner": span.owner, "low": min(span.low, MAX_POSITION), "high": span.high}
    if not span.peer:
        return terms, parameters
    return f"{terms} AND peer = {{peer:String}}", {**parameters, "peer": span.peer}

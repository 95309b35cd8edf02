"""Messages: one owner's rows as they are stored, in order, for those who need all of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stanzalake.model.position import MAX_POSITION
from stanzalake.store.client import Row, Store

_PAGE_ROWS = 2000
_PAGE_BYTES = 4 * 1024 * 1024
"""Bytes of stanzas in one page at most, but for the page's first stanza."""


@dataclass(frozen=True)
class MessageRange:
    """Which messages of an owner are meant.

    Attributes:
        owner: Bare JID.
        peer: Bare JID of the other party; empty for all.
        low: Lowest position that belongs to it.
        high: Highest position that belongs to it.
    """

    owner: str
    peer: str = ""
    low: int = 0
    high: int = MAX_POSITION


class Messages:
    """All messages, in the store. Its calls block.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def count(self, span: MessageRange) -> int:
        """Give the number of messages; raises as `Store.select` does."""
        where, parameters = _where(span)
        [(number,)] = self._store.select(
            f"SELECT uniqExact(position) FROM {self._store.table} WHERE {where}",  # noqa: S608  # an identifier
            parameters,
        )
        return int(number)

    def read(self, span: MessageRange) -> Iterator[Row]:
        """Give the messages, oldest first and each once, reading page by page.

        What is written or removed meanwhile, behind the page in hand, is seen.

        Raises:
            StoreUnavailable: The store did not answer this time.
        """
        low = span.low
        while page := self._page(MessageRange(span.owner, span.peer, low, span.high)):
            for row in page:
                # Until the store has merged them, a repeated row comes next to its like.
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

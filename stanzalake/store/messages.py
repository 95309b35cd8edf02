"""Stored messages of an owner, read in full: for export."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stanzalake.model.position import MAX_POSITION
from stanzalake.store.client import Row, Store
from stanzalake.store.erasures import VISIBLE
from stanzalake.store.statement import NO_PRESENCE, match_party, select
from stanzalake.store.tombstones import replace_retracted

_FITTING = """
QUALIFY sum(length(stanza)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - length(stanza)
    < {bytes:UInt64}
ORDER BY position SETTINGS max_threads = 1"""
_PAGE_ROWS = 2000
_PAGE_BYTES = 4 * 1024 * 1024
"""Limit on the bytes of stanzas per page; the first stanza always fits."""


@dataclass(frozen=True)
class MessageRange:
    """A range of an owner's messages.

    Attributes:
        owner: Bare JID.
        peer: Bare JID of the other party; empty for all.
        resource: Resource of the other party; in a room the author's nick. Empty for all.
        low: Lowest position, inclusive.
        high: Highest position, inclusive.
    """

    owner: str
    peer: str = ""
    resource: str = ""
    low: int = 0
    high: int = MAX_POSITION


class Messages:
    """Reader of stored messages, without erased ones. All calls block.

    Args:
        store: The store.
        with_retracted: Whether to read the content of retracted messages, where it is still
            stored, instead of their tombstones.
        with_presences: Whether to read who joined and left a room as well, where that is archived.
    """

    def __init__(
        self, store: Store, *, with_retracted: bool = False, with_presences: bool = False
    ) -> None:
        self._store = store
        self._with_retracted = with_retracted
        self._conditions = [VISIBLE] if with_presences else [VISIBLE, NO_PRESENCE]

    def count(self, span: MessageRange) -> int:
        """Count the messages of a range; raises as `Store.select` does."""
        where, parameters = self._where(span)
        [(number,)] = self._store.select(select("uniqExact(position)", where), parameters)
        return int(number)

    def read(self, span: MessageRange) -> Iterator[Row]:
        """Yield messages oldest first, each once, fetching page by page.

        Concurrent inserts and deletes beyond the current page are seen.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        low = span.low
        while page := self._page(replace(span, low=low)):
            for row in page:
                # Duplicates are adjacent until a merge removes them.
                if row.position >= low:
                    low = row.position + 1
                    yield row

    def _page(self, span: MessageRange) -> Sequence[Row]:
        where, parameters = self._where(span)
        page = select("*", where, f"ORDER BY position LIMIT {_PAGE_ROWS}")
        if not self._with_retracted:
            page = replace_retracted(page, "ASC")
        fitting = select(", ".join(Row._fields), tail=_FITTING, source=f"({page})")
        rows = self._store.select(fitting, {**parameters, "bytes": _PAGE_BYTES})
        return [Row(*row) for row in rows]

    def _where(self, span: MessageRange) -> tuple[Sequence[str], Mapping[str, Any]]:
        owner = "owner = {owner:String}"
        between = "position BETWEEN {low:UInt64} AND {high:UInt64}"
        party, parameters = match_party(span.peer, span.resource)
        return [owner, between, *self._conditions, *party], {
            "owner": span.owner,
            "low": min(span.low, MAX_POSITION),
            "high": span.high,
            **parameters,
        }

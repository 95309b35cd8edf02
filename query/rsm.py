"""Result Set Management (XEP-0059): requested and returned pages of a result."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from query.errors import StanzaError
from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import RSM, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NUMBER = re.compile(r"[0-9]{1,20}")
"""Any integer of 64 bits: clients ask for everything by the greatest that they have."""
_GREATEST = 10**18
"""Numbers above it mean no more: no archive has so many messages, and the store takes it."""
_NAMES = ("max", "after", "before", "index")


@dataclass(frozen=True)
class Paging:
    """A requested page.

    Attributes:
        limit: Items in the page at most; None for the server's default.
        after: The id that the page follows; None for the set's beginning.
        before: The id that the page precedes; None for the set's end.
        backward: Whether the page is filled from its newest item. A client that names both
            ends continues from the older, as Movim does.
        index: How many of the set's items come before the page.
    """

    limit: int | None = None
    after: str | None = None
    before: str | None = None
    backward: bool = False
    index: int = 0

    def size(self, limit: int) -> int:
        """Return the number of items in the page at most, of which the server gives `limit`."""
        return limit if self.limit is None else min(self.limit, limit)


def parse(asked: "Element | None") -> Paging:
    """Parse a ``<set/>``, or its absence.

    Raises:
        StanzaError: bad-request: not a number, a repeated child, or an index combined with an id.
    """
    values = {} if asked is None else _values(asked)
    after, before = values.get("after"), values.get("before")
    if "index" in values and (after or before is not None):
        raise StanzaError("bad-request", "index goes with neither after nor before")
    return Paging(
        limit=_number(values, "max"),
        after=after or None,
        before=before or None,
        backward=before is not None and not after,
        index=_number(values, "index") or 0,
    )


def emit(
    count: int | None, index: int | None = None, first: str | None = None, last: str | None = None
) -> str:
    """Give the ``<set/>`` of a page.

    Args:
        count: Items of the whole set; None if unknown.
        index: Index of the page's first item in the set, from 0; None for no index.
        first: Id of the page's oldest item; None if the page is empty.
        last: Id of its newest item; None if the page is empty.
    """
    ends = ""
    if first is not None and last is not None:
        place = None if index is None else str(index)
        ends = markup.element("first", {"index": place}, markup.text(first))
        ends += markup.element("last", {}, markup.text(last))
    if count is not None:
        ends += markup.element("count", {}, str(count))
    return markup.element("set", {"xmlns": RSM}, ends)


def _values(asked: "Element") -> dict[str, str]:
    values: dict[str, str] = {}
    for name in _NAMES:
        found = asked.findall(tag(RSM, name))
        if len(found) > 1:
            raise StanzaError("bad-request", f"{name} comes more than once")
        values.update((name, child.text or "") for child in found)
    return values


def _number(values: Mapping[str, str], name: str) -> int | None:
    if name not in values:
        return None
    written = values[name].strip()
    if not _NUMBER.fullmatch(written):
        raise StanzaError("bad-request", f"{name} is not a number from 0")
    return min(int(written), _GREATEST)

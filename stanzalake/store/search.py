"""Search: messages by the text of their bodies, in any archive; for operators.

There is no index: docs/decisions/0008-search.md has the figures.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stanzalake.model.position import MAX_POSITION
from stanzalake.store.client import Store

EXCERPT = 200
"""Characters of a body that are shown."""

_BEFORE = 60
_ESCAPED = re.compile(r"[&<>'\"\s]+")
"""What a stanza may write in another way than a body has it."""


@dataclass(frozen=True)
class Wanted:
    """What is searched for; all of it applies.

    Attributes:
        text: What a body contains, whatever the case of its letters; not empty.
        owner: Bare JID of the only archive; empty for all.
        peer: Bare JID of the other party; empty for all.
        low: Lowest position.
        high: Highest position.
    """

    text: str
    owner: str = ""
    peer: str = ""
    low: int = 0
    high: int = MAX_POSITION


class Found(NamedTuple):
    """One message.

    Attributes:
        owner: Whose archive it is in.
        position: Its place there.
        peer: Bare JID of the other party.
        direction: ``in`` if the owner received it, else ``out``.
        kind: The stanza's type.
        excerpt: What stands around the text, EXCERPT characters at most.
        size: Bytes of the stanza.
    """

    owner: str
    position: int
    peer: str
    direction: str
    kind: str
    excerpt: str
    size: int


def search(store: Store, wanted: Wanted, limit: int) -> Sequence[Found]:
    """Give the newest messages that match, the newest last, each once.

    What has expired is not found. A message between two local users is in both archives.

    Raises:
        StoreUnavailable: The store did not answer this time.
        StoreDenied: The user of the DSN may not read archives.
    """
    where, parameters = _where(wanted)
    statement = f"""
        WITH toInt64(positionCaseInsensitiveUTF8(body, {{text:String}})) AS place
        SELECT owner, position, peer, direction, kind,
            substringUTF8(body, greatest(place - {_BEFORE}, 1), {EXCERPT}), length(stanza)
        FROM {store.table} WHERE {where}
        ORDER BY position DESC, owner LIMIT 1 BY owner, position LIMIT {{limit:UInt64}}"""  # noqa: S608  # values travel as parameters
    rows = store.select(statement, {**parameters, "limit": limit})
    return [Found(*row) for row in reversed(rows)]


def _where(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    terms = [
        "position BETWEEN {low:UInt64} AND {high:UInt64}",
        "NOT expired",
        # Most stanzas are told apart without taking them to pieces.
        "positionCaseInsensitiveUTF8(stanza, {plain:String}) > 0",
        "positionCaseInsensitiveUTF8(body, {text:String}) > 0",
    ]
    if wanted.owner:
        terms.append("owner = {owner:String}")
    if wanted.peer:
        terms.append("peer = {peer:String}")
    return " AND ".join(terms), {
        "low": wanted.low,
        "high": wanted.high,
        "plain": max(_ESCAPED.split(wanted.text), key=len),
        "text": wanted.text,
        "owner": wanted.owner,
        "peer": wanted.peer,
    }

"""Full-text search over message bodies of any archive; for operators.

A scan without an index: see docs/decisions/0008-search.md for the measurements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stanzalake.model.full_text import TextQuery
from stanzalake.model.position import MAX_POSITION
from stanzalake.store import full_text
from stanzalake.store.client import Store
from stanzalake.store.erasures import ERASURES, VISIBLE_TO_ALL
from stanzalake.store.retention import Horizon
from stanzalake.store.statement import match_party, select
from stanzalake.store.tombstones import omit_retracted

EXCERPT = 200
"""Length of an excerpt, in characters."""

_COLUMNS = f"""
owner, position, peer, peer_resource, direction, kind,
substringUTF8(
    body,
    greatest(toInt64(positionUTF8(folded_body, extract(folded_body, {{first:String}}))) - 60, 1),
    {EXCERPT}
),
length(stanza)"""
_NEWEST = "ORDER BY position DESC, owner LIMIT 1 BY owner, position LIMIT {limit:UInt64}"


@dataclass(frozen=True)
class SearchQuery:
    """Conditions of a search, all of which apply.

    Attributes:
        text: Full-text query that the body matches.
        owner: Bare JID of the archive's owner; empty for all archives.
        peer: Bare JID of the other party; empty for all.
        resource: Resource of the other party; in a room the author's nick. Empty for all.
        low: Lowest position, inclusive.
        high: Highest position, inclusive.
    """

    text: TextQuery
    owner: str = ""
    peer: str = ""
    resource: str = ""
    low: int = 0
    high: int = MAX_POSITION


class SearchResult(NamedTuple):
    """A matching message.

    Attributes:
        owner: Bare JID of the archive's owner.
        position: Position in the archive.
        peer: Bare JID of the other party.
        peer_resource: Resource of the other party; in a room the author's nick.
        direction: ``in`` for received, ``out`` for sent.
        kind: The stanza's type.
        excerpt: The body around the match, at most EXCERPT characters.
        size: Bytes of the stanza.
    """

    owner: str
    position: int
    peer: str
    peer_resource: str
    direction: str
    kind: str
    excerpt: str
    size: int


def search(store: Store, query: SearchQuery, limit: int, oldest: Horizon) -> Sequence[SearchResult]:
    """Return the newest matching messages, newest last, each once.

    Leaves out erased and retracted messages. Finds a message between two local users in both
    archives.

    Args:
        store: The store.
        query: The conditions.
        limit: Number of messages at most.
        oldest: Of the messages that are kept.

    Raises:
        StoreUnavailable: No answer; may work later.
        StoreDenied: The user of the DSN may not read archives.
    """
    where, parameters = _where(query)
    texts = ("body", "folded_body")
    kept = select(f"*, {', '.join(texts)}", [f"position >= {oldest.expression}", *where])
    source = f"({omit_retracted(kept, *texts)}) AS found {ERASURES}"
    statement = select(_COLUMNS, [VISIBLE_TO_ALL], _NEWEST, source)
    rows = store.select(statement, {**parameters, **oldest.parameters, "limit": limit})
    return [SearchResult(*row) for row in reversed(rows)]


def _where(query: SearchQuery) -> tuple[Sequence[str], Mapping[str, Any]]:
    matching, texts = full_text.conditions(query.text)
    terms = [
        "position BETWEEN {low:UInt64} AND {high:UInt64}",
        *matching,
    ]
    if query.owner:
        terms.append("owner = {owner:String}")
    party, parties = match_party(query.peer, query.resource)
    return [*terms, *party], {
        "low": query.low,
        "high": query.high,
        "first": full_text.excerpt_pattern(query.text),
        **texts,
        "owner": query.owner,
        **parties,
    }

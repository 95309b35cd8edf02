"""Tombstones: retractions, which hide the content of messages from every reader.

A tombstone names its message; the reader looks for the tombstones of the messages that it reads. So
they hold in whatever order both are written, also for a message that is replayed or restored.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from stanzalake.model.event import Tombstone
from stanzalake.store.client import Row, Store
from stanzalake.store.expressions import CHILDREN, MUC_USER, attribute, is_child
from stanzalake.store.statement import select

SUFFIX = "_tombstones"
_PENDING_ROWS = 5000

_RETRACT = "urn:xmpp:message-retract:1"
_OCCUPANT_ID = "urn:xmpp:occupant-id:0"
_SID = "urn:xmpp:sid:0"

_CHILDREN = f"{CHILDREN} AS children"
_ROOT = "extract(stanza, '^<message[^>]*>')"
_KEPT_IDS = """arrayStringConcat(arraySlice(arrayMap(
    tag -> concat('<', tag, '>'),
    arrayFilter(
        tag -> length(tag) < 1000 AND match(tag, '^(origin-id|stanza-id|occupant-id)\\\\s.*/$'),
        children
    )
), 1, 8))"""
_MAX_ROOT = 8192
"""Bytes of the start tag of a message that can be retracted: its tombstone keeps the tag."""


def _child(name: str, namespace: str) -> str:
    """Return an expression for the tag of a direct child, empty if there is none."""
    return f"arrayFirst(tag -> {is_child('tag', name, namespace)}, children)"


_OCCUPANT = attribute(_child("occupant-id", _OCCUPANT_ID), "id")
_OF_ROOM = f"""arrayDistinct([
    toString(position),
    concat(toString(position), if({_OCCUPANT} = '', '', concat('\\n', {_OCCUPANT})))
])"""
# The author of a private message is an occupant, not the room whose bare JID they all share.
_AUTHOR = f"""if(
    direction = 'in' AND {_child("x", MUC_USER)} != '',
    concat(peer, '/', peer_resource, '\\n', {_OCCUPANT}),
    peer
)"""
_OF_ACCOUNT = f"""arrayMap(
    id -> concat(toString(direction), '\\n', {_AUTHOR}, '\\n', id),
    arrayDistinct(arrayFilter(
        id -> id != '',
        [{attribute(_ROOT, "id")}, {attribute(_child("origin-id", _SID), "id")}]
    ))
)"""

TARGETS = f"""multiIf(
    length({_CHILDREN}) = 0 OR length({_ROOT}) > {_MAX_ROOT}, [],
    {_child("retract", _RETRACT)} != '', [],
    kind = 'groupchat', {_OF_ROOM},
    kind IN ('chat', 'normal'), {_OF_ACCOUNT},
    []
)"""
"""Expression for the one or two targets by which tombstones may name a message.

A retraction cannot be retracted: it says to clients that were away what happened.
"""

_OF_OWNER = "owner = {owner:String}"
# Strangers retract what they like, also where nothing of theirs is kept.
_OF_ARCHIVE = (_OF_OWNER, f"peer IN ({select('DISTINCT peer', [_OF_OWNER])})")
_SHOWN = f"concat({_ROOT}, {_KEPT_IDS}, retracted, '</message>')"


def _with_tombstones(rows: str, tombstones: str) -> str:
    """Return a statement for messages with the tombstones that name them, of `retracted` ''."""
    fields = ", ".join(Row._fields)
    return f"""
SELECT {fields}, children, retracted, since
FROM (SELECT *, {TARGETS} AS targets, children FROM ({rows})) AS message
LEFT ARRAY JOIN targets AS target
ASOF LEFT JOIN (SELECT owner, target, position AS since, retracted FROM {tombstones}) AS tombstone
ON message.owner = tombstone.owner AND target = tombstone.target
    AND message.position < tombstone.since"""  # noqa: S608  # fragments of this module


def replace_retracted(rows: str, order: str) -> str:
    """Wrap a statement so that tombstones stand for the content of retracted messages.

    The first retraction after a message counts.

    Args:
        rows: Statement for all columns of messages of the owner ``{owner:String}``.
        order: ASC or DESC, by position.
    """
    shown = f"if(retracted = '', stanza, {_SHOWN}) AS stanza"
    columns = ", ".join(Row._fields).replace("stanza", shown)
    # Anybody may retract what does not exist, as often as they like: those are not read.
    targets = select(f"arrayJoin({TARGETS})", source=f"({rows})")
    own = f"{{tombstones:Identifier}} WHERE {_OF_OWNER} AND target IN ({targets})"
    joined = _with_tombstones(rows, own)
    return select(columns, tail=_FIRST.format(order=order), source=f"({joined})")


_FIRST = "ORDER BY position {order}, since = 0, since LIMIT 1 BY owner, position"
# Of a message that was stored again, each copy: some may have their content still.
_FIRST_OF_COPIES = f"{_FIRST.format(order='ASC')}, stored"

_RECENT = "position >= (toInt64(toUnixTimestamp(now('UTC'))) - 31 * 86400) * 65536000"
_OF_RECENT = select("owner, peer", [_RECENT], source="{table}_tombstones{local}")
_PENDING = _with_tombstones(
    select("*", [f"(owner, peer) IN ({_OF_RECENT})"], source="{table}{local}"),
    "{table}_tombstones{local}",
)
PENDING = select(
    "owner, position, shown AS stanza",
    ["shown != stored"],
    "LIMIT 1 BY owner, position",
    "("
    + select(
        f"owner, position, stanza AS stored, {_SHOWN} AS shown",
        ["retracted != ''"],
        _FIRST_OF_COPIES,
        f"({_PENDING})",
    )
    + ")",
)
"""Template of a view: retracted messages of a month whose content is on the disk."""


def omit_retracted(rows: str, *computed: str, of_owner: bool = False) -> str:
    """Wrap a statement for messages so that it omits retracted ones.

    Cheap for owners without tombstones, and for statements with few rows.

    Args:
        rows: Statement for all columns of messages.
        computed: Names of its further columns.
        of_owner: Whether all messages are of the owner ``{owner:String}``.
    """
    columns = ", ".join(f"message.{name} AS {name}" for name in (*Row._fields, *computed))
    where = _OF_ARCHIVE if of_owner else ()
    return select(columns, [_NOT_RETRACTED], source=_join_newest(f"({rows})", where))


def clear_traits(source: str, where: Sequence[str]) -> str:
    """Return a source of an owner's messages in which retracted ones have no traits.

    Stanzas are read of those alone with whose peer something was retracted.

    Args:
        source: The messages table with its modifiers.
        where: Conditions on messages of the owner ``{owner:String}``.
    """
    columns = "position, peer, direction, kind, occupant, traits"
    peers = select("peer", [_OF_OWNER], source="{tombstones:Identifier}")
    others = select(columns, [*where, f"peer NOT IN ({peers})"], source=source)
    rows = select(
        f"{', '.join(Row._fields)}, traits", [*where, f"peer IN ({peers})"], source=source
    )
    shown = columns.replace("traits", f"if({_NOT_RETRACTED}, traits, 0) AS traits")
    joined = _join_newest(f"({rows})", _OF_ARCHIVE)
    return f"({others} UNION ALL {select(shown, source=joined)})"


def _join_newest(rows: str, where: Sequence[str]) -> str:
    """Return a source of messages, named ``message``, with the newest tombstone of each target.

    Args:
        rows: Source of the messages.
        where: Conditions on the tombstones.
    """
    tombstones = "{tombstones:Identifier}"
    # By their hashes: strangers' ids may be as long as a kilobyte each.
    newest = select(
        f"owner, {_HASH.format('target')} AS name, max(position) AS until",
        where,
        "GROUP BY owner, name",
        tombstones,
    )
    joins = (
        f"LEFT ANY JOIN ({newest}) AS {name} ON {name}.owner = message.owner"
        f" AND {name}.name = {_HASH.format(f'message.targets[{number}]')}"
        for number, name in enumerate(("by_id", "by_origin_id"), 1)
    )
    targets = f"{_targets_if_any(tombstones)} AS targets"
    return f"({select(f'*, {targets}', source=rows)}) AS message {' '.join(joins)}"


def _targets_if_any(tombstones: str) -> str:
    """Return an expression for the targets of a message whose owner has any tombstones."""
    return f"if(owner IN ({select('owner', source=tombstones)}), {TARGETS}, [])"


_HASH = "sipHash128({})"
_NOT_RETRACTED = "greatest(by_id.until, by_origin_id.until) <= position"

_OF_VIEWS = "{table}_tombstones{local}"
_NAMES = select("owner, target", source=_OF_VIEWS)
_MARKED = (
    f"*, traits AS stored_traits, {_targets_if_any(_OF_VIEWS)} AS targets,"
    f" (owner, targets[1]) IN ({_NAMES}) OR (owner, targets[2]) IN ({_NAMES}) AS is_retracted"
)
_WITHOUT_CONTENT = (
    "* EXCEPT (stored_traits, targets, is_retracted)"
    " REPLACE (if(is_retracted, '', stanza) AS stanza),"
    " if(is_retracted, 0, stored_traits) AS traits"
)


def _messages_of_views(columns: str = "", where: Sequence[str] = ()) -> str:
    rows = select(_MARKED + columns, where, source="{table}{local} FINAL")
    return f"({select(_WITHOUT_CONTENT, source=f'({rows})')})"


MESSAGES_OF_VIEWS = _messages_of_views()
"""Template of a source for views: messages, without content where they were retracted.

No join, so that a view whose content nobody selects does not read stanzas. A set has no order: a
later message that has the id of a retracted one is without content as well.
"""

_BLOCK = "toUInt64OrZero(splitByChar('_', _part)[3])"
MESSAGES_WITH_BLOCKS = _messages_of_views(f", {_BLOCK} AS block")
"""The same source with the number of the last insert in the part of each message."""

NEW_MESSAGES_OF_VIEWS = _messages_of_views(
    where=[f"{_BLOCK} > ({select('block', source='{table}_last_read')})"]
)
"""The same source of messages in parts with inserts after the last reading of recent messages."""


class TombstoneRow(NamedTuple):
    """A stored tombstone; fields in the order of the table's columns.

    Attributes:
        owner: Bare JID of the archive's owner.
        position: Position of the tombstone; it holds for messages below.
        target: Name of the message, one of `TARGETS`.
        peer: Bare JID of the message's other party.
        asked_by: JID of who retracted the message.
        reason: Why.
        retracted: The element that takes the place of the content.
    """

    owner: str
    position: int
    target: str
    peer: str
    asked_by: str
    reason: str
    retracted: str

    @classmethod
    def of(cls, tombstone: Tombstone, retracted: str) -> "TombstoneRow":
        """Build the row of a tombstone, whose markup is `retracted`."""
        return cls(
            owner=tombstone.owner,
            position=tombstone.position,
            target=target(tombstone),
            peer=tombstone.peer,
            asked_by=tombstone.by,
            reason=tombstone.reason,
            retracted=retracted,
        )


def target(tombstone: Tombstone) -> str:
    """Return the name of a tombstone's message, as `TARGETS` has it."""
    if tombstone.target:
        return "\n".join(filter(None, (str(tombstone.target), tombstone.occupant_id)))
    author = tombstone.peer
    if tombstone.direction == "in" and tombstone.peer_resource:
        author = f"{tombstone.peer}/{tombstone.peer_resource}\n{tombstone.occupant_id}"
    return f"{tombstone.direction}\n{author}\n{tombstone.message_id}"


class RetractedMessage(NamedTuple):
    """A message whose content is on the disk though it was retracted.

    Attributes:
        owner: Bare JID of the archive's owner.
        position: Position in the archive.
        stanza: The stanza with the tombstone in place of its content.
    """

    owner: str
    position: int
    stanza: str


class Tombstones:
    """Reader and writer of tombstones. All calls block.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, tombstones: Iterable[TombstoneRow]) -> None:
        """Insert tombstones, heeded by every reader on return. Idempotent.

        Raises:
            StoreUnavailable: Outcome unknown; write again.
        """
        rows = list(tombstones)
        if rows:
            self._store.insert(rows, SUFFIX)

    def pending(self) -> Sequence[RetractedMessage]:
        """Return messages whose content has yet to leave the disk, some at a time.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        columns = ", ".join(RetractedMessage._fields)
        statement = select(columns, tail=f"LIMIT {_PENDING_ROWS}", source="{retracted:Identifier}")
        return [RetractedMessage(*row) for row in self._store.select(statement)]

    def kept(self) -> Collection[tuple[int, int]]:
        """Return the number of such messages of each day, with the position of its first.

        Raises as `pending` does.
        """
        tail = "GROUP BY toDate(toDateTime(intDiv(position, 65536000), 'UTC'))"
        rows = self._store.select(
            select("count(), min(position)", tail=tail, source="{retracted:Identifier}")
        )
        return {(number, first) for number, first in rows}

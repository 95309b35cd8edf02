"""Conversations of an archive: the last message of each, and how many are unread (XEP-0430).

One statement over columns without texts counts; the ids that markers name (XEP-0333) are read for
the few messages that a marker may have been about.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from stanzalake.model.page import Conversation
from stanzalake.model.traits import Trait
from stanzalake.store.chunks import chunks
from stanzalake.store.expressions import CHILDREN, START, id_of
from stanzalake.store.visible import FINAL, FINAL_SETTINGS, Query, VisibleMessages

MAX_CONVERSATIONS = 10_000
"""Conversations of an archive that are looked at: the newest."""
MAX_MARKED = 50
"""Unread messages of a conversation, the newest before its last marker, that it may name."""
MAX_IDS = 20_000
"""Messages of all conversations whose ids are compared with markers."""

_WORDS = f"""(
    kind != 'error'
    AND bitAnd(traits, {Trait.BODY | Trait.ENCRYPTED:d}) != 0
    AND bitAnd(traits, {Trait.REACTION | Trait.RETRACTION:d}) = 0
)"""
_COUNTED = f"({_WORDS} AND direction = 'in' AND bitAnd(traits, {Trait.CORRECTION:d}) = 0)"
_MARKER = f"(direction = 'out' AND bitAnd(traits, {Trait.DISPLAYED:d}) != 0)"
_COLUMNS = f"""
peer,
maxIf(position, {_WORDS}) AS newest,
greatest(
    maxIf(position, {_WORDS} AND direction = 'out'),
    {{displayed:Array(UInt64)}}[indexOf({{peers:Array(String)}}, peer)]
) AS read,
maxIf(position, {_MARKER}) AS marker,
length(arrayFilter(p -> p > read, groupArrayIf(position, {_COUNTED})) AS behind),
length(arrayReverseSort(arrayFilter(p -> p < marker, behind)) AS older),
arraySlice(older, 1, {MAX_MARKED})"""
_MARKER_TAG = (
    r"'^(displayed|acknowledged)\\s([^<]*\\s)?xmlns=["
    r""""'']urn:xmpp:chat-markers:0["'']'"""
)
_TAG = f"""if(
    {_MARKER},
    arrayFirst(tag -> match(tag, {_MARKER_TAG}), {CHILDREN}),
    {START}
)"""
_IDS = f"position, {id_of(_TAG)}"


class _Row(NamedTuple):
    """A conversation as the store counts it.

    Attributes:
        peer: The other party.
        newest: Position of the last message.
        read: Position up to which the owner has read, markers left aside.
        marker: Position of the owner's last marker; 0 for none.
        unread: Number of messages received behind `read`.
        older: Number of those that are older than the marker.
        marked: Positions of the newest of the older ones, newest first.
    """

    peer: str
    newest: int
    read: int
    marker: int
    unread: int
    older: int
    marked: Sequence[int]


class Conversations:
    """Reads the conversations of an owner's archive.

    Args:
        messages: The messages.
        owner: Bare JID.
        seal: Returns the archive id of a position.
        settings: SETTINGS clause of the statements.
    """

    def __init__(
        self, messages: VisibleMessages, owner: str, seal: Callable[[int], str], settings: str
    ) -> None:
        self._messages = messages
        self._owner = owner
        self._seal = seal
        self._settings = settings

    async def read(self, oldest: int, displayed: Mapping[str, int]) -> Sequence[Conversation]:
        """Return the conversations, the one with the newest message first.

        Args:
            oldest: The lowest position that is not expired.
            displayed: By peer, a position up to which the owner has read.
        """
        parameters = {"peers": list(displayed), "displayed": list(displayed.values())}
        query = Query(
            _COLUMNS,
            ["owner = {owner:String}", "position >= {oldest:UInt64}"],
            {**parameters, "owner": self._owner, "oldest": oldest},
            f"GROUP BY peer HAVING newest > 0 ORDER BY newest DESC LIMIT {MAX_CONVERSATIONS}",
            FINAL,
            settings=f"{self._settings}, {FINAL_SETTINGS}",
        )
        found = [_Row(*row[:7]) for row in await self._messages.select(query)]
        ids = await self._ids([p for row in found if row.older for p in (row.marker, *row.marked)])
        return [self._conversation(row, ids) for row in found]

    def _conversation(self, row: _Row, ids: Mapping[int, str]) -> Conversation:
        """Apply the last marker, which names a message by its id or by its archive id."""
        displayed = ids.get(row.marker)
        unread = row.unread
        for newer, position in enumerate(row.marked):
            if displayed and displayed in {ids.get(position), self._seal(position)}:
                unread += newer - row.older
                break
        return Conversation(row.peer, row.newest, unread)

    async def _ids(self, positions: Sequence[int]) -> Mapping[int, str]:
        """Return the id of each message; of a marker, the id that it names."""
        found: dict[int, str] = {}
        for some in chunks(positions[:MAX_IDS], str):
            query = Query(
                _IDS,
                ["owner = {owner:String}", "position IN {positions:Array(UInt64)}"],
                {"owner": self._owner, "positions": some},
                settings=self._settings,
            )
            found.update({row[0]: row[1] for row in await self._messages.select(query)})
        return found

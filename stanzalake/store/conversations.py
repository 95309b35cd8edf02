"""Conversations of an archive: the last message of each, and how many are unread (XEP-0430).

One statement over columns without texts counts; the ids that markers name (XEP-0333) are read for
the few messages that a marker may have been about.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from stanzalake.model.page import Conversation
from stanzalake.model.traits import Trait
from stanzalake.store.chunks import chunks
from stanzalake.store.expressions import CHILDREN
from stanzalake.store.visible import FINAL, FINAL_SETTINGS, Query, VisibleMessages

MAX_CONVERSATIONS = 10_000
"""Conversations of an archive that are looked at: the newest."""
MAX_CANDIDATES = 50
"""Messages of a conversation, the newest before its last marker, that the marker may name."""
MAX_IDS = 20_000
"""Messages of all conversations whose ids are compared with markers."""
_MAX_TAG = 4096
"""Bytes of a tag in which an id is looked for."""

_WORDS = f"""(
    kind != 'error'
    AND bitAnd(traits, {Trait.BODY | Trait.ENCRYPTED:d}) != 0
    AND bitAnd(traits, {Trait.REACTION | Trait.RETRACTION:d}) = 0
)"""
_COUNTED = f"({_WORDS} AND direction = 'in' AND bitAnd(traits, {Trait.CORRECTION:d}) = 0)"
_MARKER = f"(direction = 'out' AND bitAnd(traits, {Trait.DISPLAYED:d}) != 0)"
# A marker may also name a correction, or a message that was retracted since.
_COLUMNS = f"""
peer,
maxIf(position, {_WORDS}) AS newest,
greatest(
    maxIf(position, {_WORDS} AND direction = 'out'),
    {{displayed:Array(UInt64)}}[indexOf({{peers:Array(String)}}, peer)]
) AS read,
maxIf(position, {_MARKER}) AS marker,
length(arrayFilter(p -> p > read, groupArrayIf(position, {_COUNTED}) AS counted)) AS unread,
length(arrayFilter(p -> p > read AND p < marker, counted)) AS older,
arraySlice(
    arrayReverseSort(arrayFilter(
        p -> older > 0 AND p > read AND p < marker,
        groupArrayIf(position, kind != 'error' AND direction = 'in')
    )),
    1, {MAX_CANDIDATES}
) AS candidates,
arrayMap(p -> has(counted, p), candidates)"""
_MARKER_TAG = (
    r"'^(displayed|acknowledged)\s([^<]*\s)?xmlns=["
    r""""'']urn:xmpp:chat-markers:0["'']'"""
)
# Taking a stanza apart costs more than reading it: an element that occurs once is found directly.
_TAG = f"""if(
    {_MARKER},
    if(
        countSubstrings(stanza, '<displayed') + countSubstrings(stanza, '<acknowledged') = 1,
        substring(
            stanza,
            greatest(position(stanza, '<displayed'), position(stanza, '<acknowledged'))
        ),
        arrayFirst(tag -> match(tag, {_MARKER_TAG}), {CHILDREN})
    ),
    stanza
)"""
_TAGS = f"position, substring(substringIndex({_TAG}, '>', 1), 1, {_MAX_TAG})"
_ID = re.compile(r"""\sid=(?:"([^"]*)"|'([^']*)')""")


class _Row(NamedTuple):
    """A conversation as the store counts it.

    Attributes:
        peer: The other party.
        newest: Position of the last message.
        read: Position up to which the owner has read, markers left aside.
        marker: Position of the owner's last marker; 0 for none.
        unread: Number of messages received behind `read`.
        older: Number of those that are older than the marker.
        candidates: Positions of received messages that the marker may name, newest first; none if
            it makes no difference.
        counts: Whether each of them is one of `unread`.
    """

    peer: str
    newest: int
    read: int
    marker: int
    unread: int
    older: int
    candidates: Sequence[int]
    counts: Sequence[bool]

    def read_to(self, index: int) -> Conversation:
        """Return the conversation, read up to a candidate; none of them if beyond the last."""
        unread = self.unread
        if index < len(self.candidates):
            unread += sum(self.counts[:index]) - self.older
        return Conversation(self.peer, self.newest, unread)


class Conversations:
    """Reads the conversations of an owner's archive.

    Args:
        messages: The messages.
        owner: Bare JID.
        open_id: Returns the position of an archive id; None if the id is not the archive's.
        settings: SETTINGS clause of the statements.
    """

    def __init__(
        self,
        messages: VisibleMessages,
        owner: str,
        open_id: Callable[[str], int | None],
        settings: str,
    ) -> None:
        self._messages = messages
        self._owner = owner
        self._open_id = open_id
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
            by_traits=True,
            settings=f"{self._settings}, {FINAL_SETTINGS}",
        )
        rows = [_Row(*row[:8]) for row in await self._messages.select(query)]
        named = await self._named([row for row in rows if row.candidates])
        return [row.read_to(named.get(row.marker, MAX_CANDIDATES)) for row in rows]

    async def _named(self, rows: Sequence[_Row]) -> Mapping[int, int]:
        """Return the index of the candidate that each marker names, as far as it names one.

        Nearly always that is the newest. The others are read for the markers that name none.
        """
        newest = [position for row in rows for position in (row.marker, row.candidates[0])]
        ids = dict(await self._ids(newest))
        left = [row for row in rows if self._index(row, row.candidates[:1], ids) is None]
        ids.update(await self._ids([p for row in left for p in row.candidates[1:]]))
        found = ((row.marker, self._index(row, row.candidates, ids)) for row in rows)
        return {marker: index for marker, index in found if index is not None}

    def _index(self, row: _Row, candidates: Sequence[int], ids: Mapping[int, str]) -> int | None:
        """Return the index of the candidate that a marker names by its id or its archive id."""
        named = ids.get(row.marker)
        if not named:
            return None
        position = self._open_id(named)
        for index, candidate in enumerate(candidates):
            if candidate == position or ids.get(candidate) == named:
                return index
        return None

    async def _ids(self, positions: Sequence[int]) -> Mapping[int, str]:
        """Return the id of each message; of a marker, the id that it names."""
        found: dict[int, str] = {}
        for some in chunks(positions[:MAX_IDS], str):
            query = Query(
                _TAGS,
                ["owner = {owner:String}", "position IN {positions:Array(UInt64)}"],
                {"owner": self._owner, "positions": some},
                settings=self._settings,
            )
            found.update({row[0]: _id_of(row[1]) for row in await self._messages.select(query)})
        return found


def _id_of(tag: str) -> str:
    found = _ID.search(tag)
    return html.unescape(found[1] or found[2] or "") if found else ""

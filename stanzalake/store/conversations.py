"""Conversations of an archive: the last message of each, and how many are unread (XEP-0430).

One statement over columns without texts counts; the ids that markers name (XEP-0333) are read for
the few messages that a marker may have been about.
"""

import html
import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from stanzalake.model.inbox import MAX_CONVERSATIONS, ConversationState, Inbox
from stanzalake.model.traits import Trait
from stanzalake.store.chunks import chunks
from stanzalake.store.expressions import CHILDREN
from stanzalake.store.visible import FINAL, FINAL_SETTINGS, Query, VisibleMessages

MAX_CANDIDATES = 50
"""Messages of a conversation, the newest before its last marker, that the marker may name."""
MAX_ROOM_MESSAGES = 1_000
"""Messages of a room that are looked at: the newest, as the room may have millions unread."""
MAX_IDS = 20_000
"""Messages of all conversations whose ids are compared with markers."""
_MAX_TAG = 4096
"""Bytes of a tag in which an id is looked for."""
_MAX_HEAD = 1024
"""Bytes of a stanza that are read for an id; the store itself looks for the tag in longer ones."""

_OF_WORDS = Trait.BODY | Trait.ENCRYPTED
_WORDS = f"""(
    bitAnd(traits, {_OF_WORDS | Trait.REACTION | Trait.RETRACTION:d})
    IN ({Trait.BODY:d}, {Trait.ENCRYPTED:d}, {_OF_WORDS:d})
)"""
NO_ERROR = "kind != 'error'"
"""Condition for messages that were not bounced."""
_NO_CORRECTION = f"bitAnd(traits, {Trait.CORRECTION:d}) = 0"
ROOM_COLUMNS = f"""
position,
{_WORDS} AS words,
occupant = {{account:String}} AS is_own,
words AND NOT is_own AND {_NO_CORRECTION}"""
"""Of a room's message: its position, whether it has words, is the account's, and may be unread."""
_MARKER = f"(direction = 'out' AND bitAnd(traits, {Trait.DISPLAYED:d}) != 0)"
_SINCE = "arrayFilter(p -> p > own, groupArrayIf(position, {}))"
_COLUMNS = f"""
peer,
maxIf(position, {_WORDS} AS words) AS newest,
maxIf(position, words AND direction = 'out') AS own,
maxIf(position, {_MARKER}) AS marker,
{_SINCE.format(f"(words AND direction = 'in' AND {_NO_CORRECTION}) AS is_counted")},
{_SINCE.format("direction = 'in' AND NOT is_counted")}"""
_MARKER_TAG = (
    r"'^(displayed|acknowledged)\s([^<]*\s)?xmlns=["
    r""""'']urn:xmpp:chat-markers:0["'']'"""
)
_HEADS = f"position, substring(stanza, 1, {_MAX_HEAD})"
_TAGS = f"""
position,
substring(
    substringIndex(
        if({_MARKER}, arrayFirst(tag -> match(tag, {_MARKER_TAG}), {CHILDREN}), stanza), '>', 1
    ),
    1,
    {_MAX_TAG}
)"""
_MARKED = re.compile("<(?:displayed|acknowledged)")
_ID = re.compile(r"""\sid=(?:"([^"]*)"|'([^']*)')""")


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

    async def read(self, known: Inbox, oldest: int, up_to: int) -> Inbox:
        """Return the inbox of an archive.

        Args:
            known: The inbox as of a position, to which later messages are added.
            oldest: The lowest position that is not expired.
            up_to: Position of the last message to take into account.
        """
        # A clock that is set back shows messages again that had expired.
        if not known.extends_to(oldest):
            known = Inbox(since=oldest, up_to=oldest - 1)
        if known.up_to >= up_to:
            return known
        later = await self._later(known.up_to + 1, up_to)
        changed = {
            peer: known.states[peer].extend(state) if peer in known.states else state
            for peer, state in later.items()
        }
        unresolved = {peer: state for peer, state in changed.items() if later[peer].marker}
        changed |= await self._resolve(unresolved)
        return Inbox({**known.states, **changed}, known.since, up_to)

    async def _later(self, low: int, high: int) -> Mapping[str, ConversationState]:
        query = Query(
            _COLUMNS,
            [
                "owner = {owner:String}",
                "position BETWEEN {low:UInt64} AND {high:UInt64}",
                NO_ERROR,
            ],
            {"owner": self._owner, "low": low, "high": high},
            f"GROUP BY peer ORDER BY newest DESC LIMIT {MAX_CONVERSATIONS}",
            FINAL,
            by_traits=True,
            settings=f"{self._settings}, {FINAL_SETTINGS}",
        )
        return {
            peer: ConversationState(newest, own, marker, 0, sorted(counted), sorted(others))
            for peer, newest, own, marker, counted, others, *_ in await self._messages.select(query)
        }

    async def _resolve(
        self, states: Mapping[str, ConversationState]
    ) -> Mapping[str, ConversationState]:
        """Look for the messages that the markers name, which are nearly always the newest."""
        asked = {peer: candidates for peer, s in states.items() if (candidates := _candidates(s))}
        markers = {peer: states[peer].marker for peer in asked}
        newest = [position for candidates in asked.values() for position in candidates[:1]]
        ids = dict(await self._ids([*markers.values(), *newest], frozenset(markers.values())))
        marked = self._marked(asked, markers, ids)
        left = [p for peer in asked if not marked[peer] for p in asked[peer][1:]]
        if left:
            ids.update(await self._ids(left))
            marked = self._marked(asked, markers, ids)
        return {peer: states[peer]._replace(marked=marked[peer]) for peer in asked}

    def _marked(
        self,
        asked: Mapping[str, Sequence[int]],
        markers: Mapping[str, int],
        ids: Mapping[int, str],
    ) -> Mapping[str, int]:
        return {peer: self._named(ids.get(markers[peer], ""), asked[peer], ids) for peer in asked}

    def _named(self, named: str, candidates: Sequence[int], ids: Mapping[int, str]) -> int:
        """Return the candidate that has an id, or an archive id; 0 if none has."""
        by_id = (p for p in candidates if named and ids.get(p) == named)
        found = next(by_id, 0) or self._open_id(named) or 0
        return found if found in candidates else 0

    async def _ids(
        self, positions: Sequence[int], markers: Container[int] = ()
    ) -> Mapping[int, str]:
        """Return the id of each message; of a marker, the id that it names."""
        rows = await self._select(_HEADS, positions[:MAX_IDS])
        tags = {p: _tag_of(head, is_marker=p in markers) for p, head, *_ in rows}
        missing = [position for position, tag in tags.items() if not tag]
        tags |= {position: tag for position, tag, *_ in await self._select(_TAGS, missing)}
        return {position: _id_of(tag) for position, tag in tags.items()}

    async def _select(self, columns: str, positions: Sequence[int]) -> list[Sequence[Any]]:
        return [
            row
            for some in chunks(positions, str)
            for row in await self._messages.select(
                Query(
                    columns,
                    ["owner = {owner:String}", "position IN {positions:Array(UInt64)}"],
                    {"owner": self._owner, "positions": some},
                    settings=self._settings,
                )
            )
        ]


def _candidates(state: ConversationState) -> Sequence[int]:
    """Return the messages that a marker may name, newest first; none if it changes nothing."""
    if not state.counted or state.counted[0] > state.marker:
        return ()
    received = sorted((*state.counted, *state.others), reverse=True)
    return [position for position in received if position < state.marker][:MAX_CANDIDATES]


def _tag_of(head: str, *, is_marker: bool) -> str:
    """Return the tag that has the id in the beginning of a stanza; empty if that is uncertain."""
    if is_marker:
        starts = [match.start() for match in _MARKED.finditer(head)]
        if len(starts) > 1 or len(head.encode()) >= _MAX_HEAD:
            return ""
        head = head[starts[0] :] if starts else ""
    tag, end, _ = head.partition(">")
    return tag if end else ""


def _id_of(tag: str) -> str:
    found = _ID.search(tag)
    return html.unescape(found[1] or found[2] or "") if found else ""

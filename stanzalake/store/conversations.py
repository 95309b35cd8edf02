"""Conversations of an archive: the last message of each, and how many are unread (XEP-0430).

One statement over columns without texts counts; the ids that markers name (XEP-0333) are read for
the few messages that a marker may have been about.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence
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

_WORDS = f"""(
    kind != 'error'
    AND bitAnd(traits, {Trait.BODY | Trait.ENCRYPTED:d}) != 0
    AND bitAnd(traits, {Trait.REACTION | Trait.RETRACTION:d}) = 0
)"""
_COUNTED = f"(words AND direction = 'in' AND bitAnd(traits, {Trait.CORRECTION:d}) = 0)"
ROOM_COLUMNS = f"""
maxIf(position, {_WORDS}),
maxIf(position, {_WORDS} AND occupant = {{account:String}}),
groupArrayIf(
    position,
    {_WORDS} AND occupant != {{account:String}} AND bitAnd(traits, {Trait.CORRECTION:d}) = 0
)"""
"""Positions of a room's last message, of the account's own last one, and of all others'."""
_MARKER = f"(direction = 'out' AND bitAnd(traits, {Trait.DISPLAYED:d}) != 0)"
_RECEIVED = "(kind != 'error' AND direction = 'in')"
_SINCE = "arraySort(arrayFilter(p -> p > own, groupArrayIf(position, {})))"
_COLUMNS = f"""
peer,
maxIf(position, {_WORDS} AS words) AS newest,
maxIf(position, words AND direction = 'out') AS own,
maxIf(position, {_MARKER}) AS marker,
{_SINCE.format(f"{_COUNTED} AS is_counted")},
{_SINCE.format(f"{_RECEIVED} AND NOT is_counted")}"""
_MARKER_TAG = (
    r"'^(displayed|acknowledged)\s([^<]*\s)?xmlns=["
    r""""'']urn:xmpp:chat-markers:0["'']'"""
)
_TAGS = f"position, substring(substringIndex({{tag}}, '>', 1), 1, {_MAX_TAG}), {{is_certain}}"
# A statement with the expression that takes a stanza apart is planned longer than it runs: an
# element that occurs once is found without.
_TAG = f"""if(
    {_MARKER},
    substring(stanza, greatest(position(stanza, '<displayed'), position(stanza, '<acknowledged'))),
    stanza
)"""
_IS_CERTAIN = f"""(
    NOT {_MARKER}
    OR countSubstrings(stanza, '<displayed') + countSubstrings(stanza, '<acknowledged') = 1
)"""
_FOUND_TAGS = _TAGS.format(tag=_TAG, is_certain=_IS_CERTAIN)
_PARSED_TAGS = _TAGS.format(
    tag=f"arrayFirst(tag -> match(tag, {_MARKER_TAG}), {CHILDREN})", is_certain="true"
)
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
            peer: known.states.get(peer, ConversationState()).extend(state)
            for peer, state in later.items()
        }
        unresolved = {peer: state for peer, state in changed.items() if later[peer].marker}
        changed |= await self._resolve(unresolved)
        return Inbox({**known.states, **changed}, known.since, up_to)

    async def _later(self, low: int, high: int) -> Mapping[str, ConversationState]:
        query = Query(
            _COLUMNS,
            ["owner = {owner:String}", "position BETWEEN {low:UInt64} AND {high:UInt64}"],
            {"owner": self._owner, "low": low, "high": high},
            f"GROUP BY peer ORDER BY newest DESC LIMIT {MAX_CONVERSATIONS}",
            FINAL,
            by_traits=True,
            settings=f"{self._settings}, {FINAL_SETTINGS}",
        )
        return {
            peer: ConversationState(newest, own, marker, 0, counted, others)
            for peer, newest, own, marker, counted, others, *_ in await self._messages.select(query)
        }

    async def _resolve(
        self, states: Mapping[str, ConversationState]
    ) -> Mapping[str, ConversationState]:
        """Look for the messages that the markers name, which are nearly always the newest."""
        asked = {peer: candidates for peer, s in states.items() if (candidates := _candidates(s))}
        markers = {peer: states[peer].marker for peer in asked}
        newest = [position for candidates in asked.values() for position in candidates[:1]]
        ids = dict(await self._ids([*markers.values(), *newest]))
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

    async def _ids(self, positions: Sequence[int]) -> Mapping[int, str]:
        """Return the id of each message; of a marker, the id that it names."""
        rows = await self._tags(_FOUND_TAGS, positions[:MAX_IDS])
        uncertain = [position for position, _, is_certain, *_ in rows if not is_certain]
        rows += await self._tags(_PARSED_TAGS, uncertain)
        return {position: _id_of(tag) for position, tag, *_ in rows}

    async def _tags(self, columns: str, positions: Sequence[int]) -> list[Sequence[Any]]:
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
    if state.unread(0) == state.unread(state.marker):
        return ()
    received = sorted((*state.counted, *state.others), reverse=True)
    return [position for position in received if position < state.marker][:MAX_CANDIDATES]


def _id_of(tag: str) -> str:
    found = _ID.search(tag)
    return html.unescape(found[1] or found[2] or "") if found else ""

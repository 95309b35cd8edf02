"""Reads of the newest messages of archives, of several owners in one statement or two.

Planning a statement takes ClickHouse 3 to 5 ms whatever it reads, so owners who wait share one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from stanzalake.errors import AnswerCut, ResultTooLarge
from stanzalake.model.page import NewestMessages, Selection, StoredMessage
from stanzalake.store.batches import Batches
from stanzalake.store.erasures import OWNER_MAY_BE_ERASED
from stanzalake.store.statement import NO_PRESENCE, select
from stanzalake.store.visible import BOUND, SETTINGS, Query, Rows, VisibleMessages

MAX_BATCHED = 300
"""Messages of an owner at most that are read together with those of others."""
_OWNERS = 32
"""Owners of a batch at most."""
_BATCHES = 2
"""Batches at a time."""
_PATIENCE = 0.1
"""Seconds that owners wait for the batch at work to end before they make another."""
_WHOLE_ROWS = 5_000
"""Messages of a batch at most that are read whole, without a look for where the newest begin."""
_LEAST = 4
"""Owners at least that look for where the newest begin together; fewer are read alone for less."""
_PAUSE = 8
"""Batches after one with more messages that look for the newest at once."""
_ROWS = 2_000_000
"""Rows at most of whose positions a batch looks through; else each owner is read alone."""

_BOUND = f"{SETTINGS}, {BOUND}"
_COLUMNS = "position, legacy_id, stanza, peer, peer_resource, kind = 'groupchat'"
_WIDTH = len(StoredMessage._fields)

_NUMBER = "indexOf({owners:Array(String)}, owner)"
_OF_OWNERS = [
    "owner IN {owners:Array(String)}",
    "position >= transform(owner, {owners:Array(String)}, {lows:Array(UInt64)}, toUInt64(0))",
    NO_PRESENCE,
]
_POSITIONS = select(
    f"""owner,
    groupArraySorted({MAX_BATCHED})((bitNot(position), kind != 'groupchat')) AS descending,
    uniqExact(position) AS number, min(position) AS first,
    uniqExactIf(position, kind != 'groupchat') AS talks,
    minIf(position, kind != 'groupchat') AS first_talk""",
    _OF_OWNERS,
    "GROUP BY owner",
)
_EXTENTS = select(
    f"""{_NUMBER} AS index, {OWNER_MAY_BE_ERASED},
    arraySlice(descending, 1, {{limits:Array(UInt64)}}[index]) AS newest,
    arrayDistinct(newest) AS distinct,
    if(length(newest) < {{limits:Array(UInt64)}}[index], 0, bitNot(newest[-1].1)),
    number - length(distinct), first, talks - arrayCount(one -> one.2, distinct), first_talk""",
    tail=f"{SETTINGS}, max_rows_to_read = {_ROWS}, read_overflow_mode = 'throw'",
    source=f"({_POSITIONS})",
)
_MESSAGES = select(f"{_NUMBER}, {OWNER_MAY_BE_ERASED}, {_COLUMNS}", _OF_OWNERS, _BOUND)
_WHOLE = f"{_MESSAGES}, max_result_rows = {_WHOLE_ROWS}"


class _Load(NamedTuple):
    """The newest messages of an owner from a position on, `limit` at most."""

    owner: str
    low: int
    limit: int


class _Extent(NamedTuple):
    """Where the newest messages of a load begin, and what is older.

    Attributes:
        floor: Position of the first of them; 0 if nothing is older.
        older: Number and first position of the older messages, by selection.
    """

    floor: int
    older: Mapping[Selection, tuple[int, int]]


class NewestReader:
    """Reads the newest messages of archives.

    Args:
        messages: Runs statements.
    """

    def __init__(self, messages: VisibleMessages) -> None:
        self._messages = messages
        self._batches = Batches(self._read_alone, self._read_together, _BATCHES, _OWNERS, _PATIENCE)
        self._pause = 0

    async def read(self, owner: str, low: int, limit: int) -> NewestMessages:
        """Return the newest messages of an owner from a position on.

        Args:
            owner: Bare JID.
            low: The position.
            limit: Number of messages at most.

        Raises:
            ResultTooLarge: Their stanzas pass twice the bytes of a page.
        """
        load = _Load(owner, low, limit)
        # Which owners have something hidden, a server of a cluster does not know.
        if self._messages.sharded or limit > MAX_BATCHED:
            return await self._read_alone(load)
        return await self._batches.ask(load)

    async def _read_alone(self, load: _Load) -> NewestMessages:
        rows = await self._select(load, distinct=False)
        distinct = {row[0]: row for row in rows}
        if len(rows) == load.limit and len(distinct) < load.limit:
            # Repeats have taken the room of older messages.
            rows = await self._select(load, distinct=True)
            distinct = {row[0]: row for row in rows}
        messages = [StoredMessage(*row[:_WIDTH]) for row in reversed(distinct.values())]
        floor = messages[0].position if len(messages) >= load.limit else 0
        # A row has a further column if nothing of the owner is hidden.
        is_plain = bool(rows) and len(rows[0]) > _WIDTH
        return NewestMessages(messages, is_plain, floor)

    async def _select(self, load: _Load, *, distinct: bool) -> Rows:
        """Select the newest messages; to drop repeats reads the whole archive."""
        query = Query(
            _COLUMNS,
            ["owner = {owner:String}", "position >= {low:UInt64}", NO_PRESENCE],
            load._asdict(),
            "LIMIT {limit:UInt64}",
            order="DESC",
            distinct=distinct,
            settings=_BOUND,
        )
        return await self._messages.select(query)

    async def _read_together(self, loads: Sequence[_Load]) -> Mapping[_Load, NewestMessages]:
        """Read the archives in which nothing is hidden.

        Most archives are small, so reading them whole is tried first. Where large ones ask, the
        attempt would be in vain each time.
        """
        # Of two loads of an owner, one is left out.
        once = list({load.owner: load for load in loads}.values())
        if self._pause:
            self._pause -= 1
            return await self._read_newest(once)
        try:
            return await self._read_whole(once)
        except (ResultTooLarge, AnswerCut):
            self._pause = _PAUSE
            return await self._read_newest(once)

    async def _read_whole(self, loads: Sequence[_Load]) -> Mapping[_Load, NewestMessages]:
        """Read all messages of each load, and drop the older ones.

        Raises:
            ResultTooLarge: They are more than a batch may read.
            AnswerCut: The same, from a server that had begun to answer.
        """
        rows = await self._messages.run(_WHOLE, _parameters({load: load.low for load in loads}))
        found = _collect(loads, rows)
        return {load: _cut(messages, load.limit) for load, messages in found.items()}

    async def _read_newest(self, loads: Sequence[_Load]) -> Mapping[_Load, NewestMessages]:
        """Read the newest messages of each load in two statements.

        The first reads positions alone and finds where each archive's newest messages begin; so the
        second reads no stanza of the many others, however large an archive is.
        """
        extents = await self._find_extents(loads) if len(loads) >= _LEAST else {}
        if not extents:
            return {}
        starts = {load: extent.floor or load.low for load, extent in extents.items()}
        rows = await self._messages.run(_MESSAGES, _parameters(starts))
        found = _collect(list(starts), rows)
        return {load: _newest(found[load], extents[load]) for load in found}

    async def _find_extents(self, loads: Sequence[_Load]) -> Mapping[_Load, _Extent]:
        starts = {load: load.low for load in loads}
        limits = {"limits": [load.limit for load in loads]}
        rows = await self._messages.run(_EXTENTS, {**_parameters(starts), **limits})
        return {
            loads[index - 1]: _Extent(floor, dict(_older(*older)))
            for index, is_hidden, _, _, floor, *older in rows
            if not is_hidden
        }


def _parameters(starts: Mapping[_Load, int]) -> Mapping[str, Any]:
    """Return the parameters for the messages of each owner from a position on."""
    return {"owners": [load.owner for load in starts], "lows": list(starts.values())}


def _older(
    number: int, first: int, talks: int, first_talk: int
) -> Iterator[tuple[Selection, tuple[int, int]]]:
    """Yield the number and first position of the older messages, with groupchat and without."""
    yield Selection(), (number, first if number else 0)
    yield Selection(groupchat=False), (talks, first_talk if talks else 0)


def _collect(loads: Sequence[_Load], rows: Rows) -> Mapping[_Load, Sequence[StoredMessage]]:
    """Return the messages of each load, oldest first, without those whose owner has some hidden."""
    found: dict[int, dict[int, StoredMessage] | None] = {}
    for index, is_hidden, *columns in rows:
        messages = found.setdefault(index, {})
        if is_hidden:
            # Since the first statement.
            found[index] = None
        elif messages is not None:
            messages[columns[0]] = StoredMessage(*columns)
    return {
        loads[index - 1]: [messages[position] for position in sorted(messages)]
        for index, messages in found.items()
        if messages is not None
    }


def _cut(messages: Sequence[StoredMessage], limit: int) -> NewestMessages:
    """Return the newest of all messages of a load, with counts of the older ones."""
    older, newest = messages[:-limit], messages[-limit:]
    talks = [message.position for message in older if not message.groupchat]
    first = older[0].position if older else 0
    counts = dict(_older(len(older), first, len(talks), talks[0] if talks else 0))
    return _newest(newest, _Extent(newest[0].position if older else 0, counts))


def _newest(messages: Sequence[StoredMessage], extent: _Extent) -> NewestMessages:
    return NewestMessages(messages, is_plain=True, floor=extent.floor, older=extent.older)

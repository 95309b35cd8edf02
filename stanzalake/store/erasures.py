"""Erasure records: they hide messages from every reader, and document who was erased when."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from stanzalake.model.event import VERSION, Erasure
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store
from stanzalake.store.retention import OWN_HORIZON
from stanzalake.store.statement import select

SUFFIX = "_erasures"
_TABLE = "{erasures:Identifier}"
_HIDES = """arrayExists(
    (erasure) -> position >= erasure.1 AND position < erasure.2
        AND (erasure.3 = '' OR erasure.3 = peer),
    {})"""
_OWNER = ["owner = {owner:String}"]
# As the view of what is hidden has them, which takes 3 ms longer.
_RANGES = " UNION ALL ".join(
    (
        select("low, high, peer", _OWNER, source=_TABLE),
        select(
            f"toUInt64(0), {OWN_HORIZON}, ''", _OWNER, source="{own_retention:Identifier} FINAL"
        ),
    )
)
_WHOLE = "low = 0 AND peer = ''"
# A user may make and destroy a room as often as they like: the last range covers all others.
_COLLECTED = f"groupUniqArray((low, high, peer)) AS ranges, maxIf(high, {_WHOLE}) AS until"
_IN_FORCE_RANGES = "arrayFilter(one -> one.2 >= until, ranges)"
OF_OWNER = select(_IN_FORCE_RANGES, source=f"({select(_COLLECTED, source=f'({_RANGES})')})")
"""Statement for the ranges of positions of the owner ``{owner:String}`` that are hidden."""

VISIBLE = f"NOT {_HIDES.format(f'({OF_OWNER})')}"
"""Condition for messages of the owner ``{owner:String}`` that are neither erased nor too old.

Too old are those that the owner keeps no longer, see `own_retention`.
"""

VISIBLE_TO_ALL = f"NOT {_HIDES.format('erasures')}"
"""The same condition for messages of any owner; for use with ERASURES."""

_OF_OWNERS = select(f"owner, {_COLLECTED}", tail="GROUP BY owner", source="{hidden:Identifier}")
ERASURES = f"""LEFT JOIN (
    {select(f"owner, {_IN_FORCE_RANGES} AS erasures", source=f"({_OF_OWNERS})")}
) AS erased USING (owner)"""
"""The join of messages with what is hidden of each message's owner."""

_MAY_BE_ERASED = """(
    joinGet({{erased:String}}, 'known', halfMD5({owner}))
    OR NOT joinGet({{erased:String}}, 'known', toUInt64(0))
)"""

MAY_BE_ERASED = _MAY_BE_ERASED.format(owner="{owner:String}")
"""Whether the owner may have erasures, tombstones or a retention, without reading.

Else nothing is hidden.

The table in memory has the hashes of all owners with such records, and 0 once it is complete: a
restart of ClickHouse empties it. Materialized views add the owner of each new record.
"""

OWNER_MAY_BE_ERASED = _MAY_BE_ERASED.format(owner="owner")
"""The same about each row's owner."""

_TOUCH = """
INSERT INTO {touched:Identifier} (day, at)
SELECT DISTINCT toDate(toDateTime(intDiv(position, 65536000), 'UTC')), now64(6, 'UTC')
FROM {messages:Identifier}
WHERE owner IN {owners:Array(String)} AND arrayExists(
    (of, low, high) -> owner = of AND position >= low AND position < high,
    {owners:Array(String)}, {lows:Array(UInt64)}, {highs:Array(UInt64)})"""
_TOUCH_POSITIONS = """
INSERT INTO {touched:Identifier} (day, at)
SELECT DISTINCT
    toDate(toDateTime(intDiv(arrayJoin({positions:Array(UInt64)}), 65536000), 'UTC')),
    now64(6, 'UTC')"""
_FILL = """
INSERT INTO {erased:Identifier} (owner, known) SELECT owner, 1 FROM
(
    SELECT DISTINCT halfMD5(owner) AS owner FROM {erasures:Identifier}
    UNION DISTINCT SELECT halfMD5(owner) FROM {tombstones:Identifier}
    UNION DISTINCT SELECT halfMD5(owner) FROM {own_retention:Identifier}
    UNION ALL SELECT toUInt64(0)
) ORDER BY owner DESC"""
_IN_FORCE = select(
    f"count() AND {MAY_BE_ERASED}",
    ["owner = {owner:String}", "position = {position:UInt64}"],
    source=_TABLE,
)
_IS_COMPLETE = "SELECT joinGet({erased:String}, 'known', toUInt64(0))"


class _Row(NamedTuple):
    owner: str
    position: int
    peer: str
    low: int
    high: int
    account: bool
    asked_by: str


def touch(store: Store, hidden: Iterable[tuple[str, int, int]]) -> None:
    """Record the days of hidden messages as changed, before their bytes are removed.

    Args:
        store: The store.
        hidden: Ranges of positions, each by its owner, the first and the one behind the last.

    Raises:
        StoreUnavailable: Outcome unknown; repeat.
    """
    for some in chunks(hidden, lambda span: span[0]):
        owners, lows, highs = map(list, zip(*some, strict=True))
        store.command(_TOUCH, {"owners": owners, "lows": lows, "highs": highs})


def touch_positions(store: Store, positions: Collection[int]) -> None:
    """Record the days of messages as changed; raises as `touch` does."""
    for some in chunks(sorted(positions), str):
        store.command(_TOUCH_POSITIONS, {"positions": some})


class Erasures:
    """Reader and writer of erasure records. All calls block.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, erasures: Iterable[Erasure]) -> None:
        """Insert erasures; on return, no reader sees a message that they cover. Idempotent.

        Raises:
            StoreUnavailable: Outcome unknown; write again.
        """
        rows = [_row(erasure) for erasure in erasures]
        if rows:
            self._store.insert(rows, SUFFIX)
        touch(self._store, [(row.owner, row.low, row.high) for row in rows])

    def read(self, owners: Collection[str]) -> Mapping[str, Sequence[Erasure]]:
        """Return the erasures of each owner that has any, oldest first.

        Without those that cover no more than a later one, see `model.history.in_force`.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        found: dict[str, Sequence[Erasure]] = {}
        for some in chunks(sorted(owners), str):
            erasures = self._select(_IS_IN_FORCE, {"owners": some}, _WITH_LAST)
            found.update({o: tuple(e) for o, e in groupby(erasures, key=lambda e: e.owner)})
        return found

    def since(self, position: int) -> Sequence[Erasure]:
        """Return the erasures requested at or after a position; raises as `read` does."""
        return self._select("position >= {position:UInt64}", {"position": position})

    def is_in_force(self, erasure: Erasure) -> bool:
        """Return whether all readers heed an erasure; raises as `read` does."""
        parameters = {"owner": erasure.owner, "position": erasure.position}
        [(in_force,)] = self._store.select(_IN_FORCE, parameters)
        return bool(in_force)

    def complete(self) -> None:
        """Fill the table of owners with erasures if ClickHouse was restarted; raises as `write`.

        Until then readers filter the messages of every owner.
        """
        [(is_complete,)] = self._store.select(_IS_COMPLETE)
        if not is_complete:
            self.fill()

    def fill(self) -> None:
        """Fill the table of owners with erasures, as after a restore; raises as `write`."""
        self._store.command(_FILL)

    def _select(
        self, condition: str, parameters: Mapping[str, object], source: str = _TABLE
    ) -> Sequence[Erasure]:
        statement = select(_COLUMNS, [condition], "ORDER BY owner, position", source)
        return [_erasure(*row) for row in self._store.select(statement, parameters)]


_COLUMNS = f"DISTINCT {', '.join(_Row._fields)}"
_IS_IN_FORCE = "(high >= until OR account AND position = last)"
_LAST = f"""maxIf(high, {_WHOLE}) OVER of_owner AS until,
    maxIf(position, account) OVER of_owner AS last"""
_WITH_LAST = "({})".format(
    select(
        f"{', '.join(_Row._fields)}, {_LAST}",
        ["owner IN {owners:Array(String)}"],
        "WINDOW of_owner AS (PARTITION BY owner)",
        _TABLE,
    )
)


def _row(erasure: Erasure) -> _Row:
    return _Row(
        owner=erasure.owner,
        position=erasure.position,
        peer=erasure.peer,
        low=erasure.start,
        high=erasure.behind,
        account=erasure.account,
        asked_by=erasure.by,
    )


def _erasure(  # noqa: PLR0913, PLR0917  # the columns
    owner: str, position: int, peer: str, low: int, high: int, account: bool, asked_by: str
) -> Erasure:
    return Erasure(
        v=VERSION,
        owner=owner,
        position=position,
        peer=peer,
        start=low,
        end=high,
        account=account,
        by=asked_by,
    )

"""Erasure records: they hide messages from readers, and document who was erased when."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from stanzalake.model.event import VERSION, Erasure
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store
from stanzalake.store.statement import select

SUFFIX = "_erasures"
_ERASURES = "{erasures:Identifier}"


class _Row(NamedTuple):
    owner: str
    position: int
    peer: str
    low: int
    high: int
    account: bool
    asked_by: str


class Erasures:
    """Reader and writer of erasure records. All calls block.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, erasures: Iterable[Erasure]) -> None:
        """Insert erasures, readable on return. Idempotent.

        Raises:
            StoreUnavailable: Outcome unknown; write again.
        """
        rows = [_row(erasure) for erasure in erasures]
        if rows:
            self._store.insert(rows, SUFFIX)

    def read(self, owners: Collection[str]) -> Mapping[str, Sequence[Erasure]]:
        """Return the erasures of each owner that has any, oldest first.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        found: dict[str, Sequence[Erasure]] = {}
        for some in chunks(sorted(owners), str):
            erasures = self._select("owner IN {owners:Array(String)}", {"owners": some})
            found.update({o: tuple(e) for o, e in groupby(erasures, key=lambda e: e.owner)})
        return found

    def since(self, position: int) -> Sequence[Erasure]:
        """Return the erasures requested at or after a position; raises as `read` does."""
        return self._select("position >= {position:UInt64}", {"position": position})

    def _select(self, condition: str, parameters: Mapping[str, object]) -> Sequence[Erasure]:
        statement = select(_COLUMNS, [condition], "ORDER BY owner, position", _ERASURES)
        rows = self._store.select(statement, parameters)
        return [_erasure(_Row(*row)) for row in rows]


_COLUMNS = f"DISTINCT {', '.join(_Row._fields)}"


def _row(erasure: Erasure) -> _Row:
    return _Row(
        owner=erasure.owner,
        position=erasure.position,
        peer=erasure.peer,
        low=erasure.start,
        high=min(erasure.end, erasure.position),
        account=erasure.account,
        asked_by=erasure.by,
    )


def _erasure(row: _Row) -> Erasure:
    return Erasure(
        v=VERSION,
        owner=row.owner,
        position=row.position,
        peer=row.peer,
        start=row.low,
        end=row.high,
        account=row.account,
        by=row.asked_by,
    )

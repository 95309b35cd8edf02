"""Erasures, in the store: what is to stay forgotten, and the record of who was erased when."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from stanzalake.model.event import VERSION, Erasure
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store

PART = "_erasures"


class _Row(NamedTuple):
    owner: str
    position: int
    peer: str
    low: int
    high: int
    account: bool
    asked_by: str


class Erasures:
    """All erasures, in the store. Its calls block.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, erasures: Iterable[Erasure]) -> None:
        """Add erasures; they are readable when this returns, and a repeat is the same one.

        Raises:
            StoreUnavailable: They may or may not be written: write them again.
        """
        rows = [_row(erasure) for erasure in erasures]
        if rows:
            self._store.insert(rows, PART)

    def read(self, owners: Collection[str]) -> Mapping[str, Sequence[Erasure]]:
        """Give the erasures of each owner that has any, the oldest first.

        Raises:
            StoreUnavailable: The store did not answer this time.
        """
        found: dict[str, Sequence[Erasure]] = {}
        for some in chunks(sorted(owners), str):
            erasures = self._select("owner IN {owners:Array(String)}", {"owners": some})
            found.update({o: tuple(e) for o, e in groupby(erasures, key=lambda e: e.owner)})
        return found

    def since(self, position: int) -> Sequence[Erasure]:
        """Give those asked for at or behind a position; raises as `read` does."""
        return self._select("position >= {position:UInt64}", {"position": position})

    def _select(self, condition: str, parameters: Mapping[str, object]) -> Sequence[Erasure]:
        rows = self._store.select(
            f"SELECT DISTINCT {', '.join(_Row._fields)} FROM {self._store.table}{PART}"  # noqa: S608  # identifiers
            f" WHERE {condition} ORDER BY owner, position",
            parameters,
        )
        return [_erasure(_Row(*row)) for row in rows]


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

"""Positions that hold a message already: an import must not reuse them."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from stanzalake.model.position import SEQUENCE_BITS
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store

_SECOND = 1000 << SEQUENCE_BITS
"""Number of positions in a second."""
_TAKEN = """
SELECT DISTINCT owner, position, legacy_id FROM {messages:Identifier}
WHERE owner IN {owners:Array(String)} AND position BETWEEN {low:UInt64} AND {high:UInt64}
    AND intDiv(position, {second:UInt64}) IN {seconds:Array(UInt64)}"""


class Moment(NamedTuple):
    """A second of an owner's archive; unix time."""

    owner: str
    second: int


class TakenPosition(NamedTuple):
    """A position that holds a message, with its legacy id if it was imported."""

    owner: str
    position: int
    legacy_id: str


class TakenPositions:
    """Reader of taken positions. All calls block.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, moments: Collection[Moment]) -> Sequence[TakenPosition]:
        """Return all taken positions within the moments, and possibly more of the same owners.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        return [taken for some in chunks(sorted(moments), _owner) for taken in self._read(some)]

    def _read(self, moments: Sequence[Moment]) -> Iterable[TakenPosition]:
        seconds = sorted({moment.second for moment in moments})
        rows = self._store.select(
            _TAKEN,
            {
                "owners": sorted({moment.owner for moment in moments}),
                "low": seconds[0] * _SECOND,
                "high": (seconds[-1] + 1) * _SECOND - 1,
                "second": _SECOND,
                "seconds": seconds,
            },
        )
        return (TakenPosition(*row) for row in rows)


def _owner(moment: Moment) -> str:
    return moment.owner

"""Places: the positions of archives that hold a message, and the ids that came with it."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from stanzalake.model.position import SEQUENCE_BITS
from stanzalake.store.chunks import chunks
from stanzalake.store.client import Store

_SECOND = 1000 << SEQUENCE_BITS
"""Positions of a second."""


class Moment(NamedTuple):
    """A second of an owner's archive, in unix time."""

    owner: str
    second: int


class TakenPosition(NamedTuple):
    """A position that is taken, and the id that its message came with, if it was imported."""

    owner: str
    position: int
    legacy_id: str


class TakenPositions:
    """All places, in the store. Its calls block.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, moments: Collection[Moment]) -> Sequence[TakenPosition]:
        """Give every place within the moments, and possibly more of the same owners.

        Raises:
            StoreUnavailable: The store did not answer this time.
        """
        return [place for some in chunks(sorted(moments), _owner) for place in self._read(some)]

    def _read(self, moments: Sequence[Moment]) -> Iterable[TakenPosition]:
        seconds = sorted({moment.second for moment in moments})
        rows = self._store.select(
            f"""
            SELECT DISTINCT owner, position, legacy_id FROM {self._store.table}
            WHERE owner IN {{owners:Array(String)}}
                AND position BETWEEN {{low:UInt64}} AND {{high:UInt64}}
                AND intDiv(position, {_SECOND}) IN {{seconds:Array(UInt64)}}""",  # noqa: S608  # an identifier
            {
                "owners": sorted({moment.owner for moment in moments}),
                "low": seconds[0] * _SECOND,
                "high": (seconds[-1] + 1) * _SECOND - 1,
                "seconds": seconds,
            },
        )
        return (TakenPosition(*row) for row in rows)


def _owner(moment: Moment) -> str:
    return moment.owner

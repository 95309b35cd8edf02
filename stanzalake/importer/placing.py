"""Placing: which position an imported message gets.

The upper half of each millisecond's sequence is for imports: the tap, which stamps a message in a
tenth of a millisecond, never gets there, so the two cannot meet. A message goes behind everything
that was imported into its millisecond before it. One whose id is stored already is left where it
is. So a repeated import changes nothing, one that was cut short goes on, and one that was made
before the source had its last messages only adds them: the rule needs no memory but the store.
"""

from collections.abc import Iterable
from typing import Final

from stanzalake.model.position import SEQUENCE_BITS, from_milliseconds, to_milliseconds
from stanzalake.store.taken_positions import Moment, TakenPosition

UPPER_HALF: Final = 1 << SEQUENCE_BITS - 1


def moment(owner: str, position: int) -> Moment:
    """Give the moment whose places must be known to give one near a position."""
    return Moment(owner, to_milliseconds(position) // 1000)


class Placing:
    """Places of one batch.

    Args:
        taken: What the store holds in the moments of its messages.
    """

    def __init__(self, taken: Iterable[TakenPosition]) -> None:
        self._taken: set[tuple[str, int]] = set()
        self._ids: set[tuple[str, str]] = set()
        self._last: dict[tuple[str, int], int] = {}
        for place in taken:
            self._take(place)

    def give(self, owner: str, legacy_id: str, at: int) -> int | None:
        """Give a message the next position of its millisecond, or None if it is there already.

        Args:
            owner: Whose it is.
            legacy_id: What its owner's clients know it by.
            at: When it was archived, unix milliseconds.
        """
        if (owner, legacy_id) in self._ids:
            return None
        last = self._last.get((owner, at))
        position = from_milliseconds(at, UPPER_HALF) if last is None else _next(last)
        while (owner, position) in self._taken:
            position = _next(position)
        self._take(TakenPosition(owner, position, legacy_id))
        self._last[owner, at] = position
        return position

    def keep(self, owner: str, position: int) -> int | None:
        """Let a message that has a position have it, or give None if it is there already."""
        if (owner, position) in self._taken:
            return None
        self._take(TakenPosition(owner, position, ""))
        return position

    def _take(self, place: TakenPosition) -> None:
        self._taken.add((place.owner, place.position))
        if place.legacy_id:
            self._ids.add((place.owner, place.legacy_id))
        if place.position & UPPER_HALF:
            at = place.owner, to_milliseconds(place.position)
            self._last[at] = max(place.position, self._last.get(at, 0))


def _next(position: int) -> int:
    """Give the next position that is for imports; a full millisecond runs over into the next."""
    return position + 1 | UPPER_HALF

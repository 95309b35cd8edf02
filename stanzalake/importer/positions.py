"""Allocates positions for imported messages.

Imports use the upper half of each millisecond's sequence; the tap, which needs a tenth of a
millisecond for a message, never reaches that half. A message follows everything imported into its
millisecond before, and an id that is stored already keeps its position. Repeating an import
therefore changes nothing, an interrupted import continues, and a later import of the same source
adds the new messages, with no state other than the store.
"""

from collections.abc import Iterable
from typing import Final

from stanzalake.model.position import SEQUENCE_BITS, from_milliseconds, to_milliseconds
from stanzalake.store.taken_positions import Moment, TakenPosition

UPPER_HALF: Final = 1 << SEQUENCE_BITS - 1


def moment(owner: str, position: int) -> Moment:
    """Return the second around a position, whose taken positions an allocation depends on."""
    return Moment(owner, to_milliseconds(position) // 1000)


class PositionAllocator:
    """Allocates the positions of a batch.

    Args:
        taken: Positions that the store has in the seconds of the batch's messages.
    """

    def __init__(self, taken: Iterable[TakenPosition]) -> None:
        self._taken: set[tuple[str, int]] = set()
        self._ids: set[tuple[str, str]] = set()
        self._last: dict[tuple[str, int], int] = {}
        for position in taken:
            self._add(position)

    def allocate(self, owner: str, legacy_id: str, at: int) -> int | None:
        """Allocate the next position of a millisecond.

        Args:
            owner: The archive's owner.
            legacy_id: The message's id in the source.
            at: Time of archiving, unix milliseconds.

        Returns:
            None if the message is stored already.
        """
        if (owner, legacy_id) in self._ids:
            return None
        last = self._last.get((owner, at))
        position = from_milliseconds(at, UPPER_HALF) if last is None else _next(last)
        while (owner, position) in self._taken:
            position = _next(position)
        self._add(TakenPosition(owner, position, legacy_id))
        self._last[owner, at] = position
        return position

    def reserve(self, owner: str, position: int) -> int | None:
        """Reserve a position for a message exported from this archive; None if taken."""
        if (owner, position) in self._taken:
            return None
        self._add(TakenPosition(owner, position, ""))
        return position

    def _add(self, taken: TakenPosition) -> None:
        self._taken.add((taken.owner, taken.position))
        if taken.legacy_id:
            self._ids.add((taken.owner, taken.legacy_id))
        if taken.position & UPPER_HALF:
            at = taken.owner, to_milliseconds(taken.position)
            self._last[at] = max(taken.position, self._last.get(at, 0))


def _next(position: int) -> int:
    """Return the next position for imports; a full millisecond overflows into the next."""
    return position + 1 | UPPER_HALF

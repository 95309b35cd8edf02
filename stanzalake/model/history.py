"""Histories: the preferences, activations and erasures of an archive, ordered by position.

The policy needs a short history of each owner, not just the current state: a message is judged by
the states before its own position, even when processed late or again, and by all erasures.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from stanzalake.model.event import Activation, Erasure, Message, Preferences

OwnerState = Preferences | Activation
ArchiveState = OwnerState | Erasure
History = Sequence[ArchiveState]
"""States of an owner, oldest first."""

MAX_STATES = 1000
"""Preferences and activations read and remembered for an owner: the newest."""
MAX_BYTES = 512 * 1024
"""Bytes of these, as `size` counts them; the newest preferences are kept whatever their size."""

STATE_BYTES = 256
"""Approximate memory of a state, besides its JIDs."""
JID_BYTES = 64
"""Approximate memory of a JID in a list, besides its text."""


def size(state: ArchiveState) -> int:
    """Return the approximate memory of a state in bytes."""
    if not isinstance(state, Preferences):
        return STATE_BYTES
    jids = (*state.always, *state.never)
    return STATE_BYTES + JID_BYTES * len(jids) + sum(len(jid.encode()) for jid in jids)


def merge(history: History, states: Iterable[ArchiveState]) -> History:
    """Return a history with more states, without duplicates and obsolete ones.

    The removal of an account ends its preferences: a new account of that name starts without any.
    """
    ordered = sorted({*history, *states}, key=_position)
    erasures = in_force([state for state in ordered if isinstance(state, Erasure)])
    end = max((erasure.position for erasure in erasures if erasure.account), default=0)
    current = [s for s in ordered if not isinstance(s, Erasure) and s.position >= end]
    return tuple(sorted([*erasures, *current], key=_position))


def in_force(erasures: Sequence[Erasure]) -> Sequence[Erasure]:
    """Return an owner's erasures without those that change nothing beside another one.

    Each destruction of a room covers all that an earlier one does, and a user may make and destroy
    a room as often as they like.
    """
    whole = [one for one in erasures if not one.start and not one.peer]
    widest = max(whole, key=lambda one: (one.behind, one.position), default=None)
    last = max((one for one in erasures if one.account), key=_position, default=None)
    until = widest.behind if widest else 0
    return [one for one in erasures if one in {widest, last} or one.behind > until]


def cut(history: History) -> History:
    """Return a history within the limits: the newest states, and all erasures."""
    erasures = [state for state in history if isinstance(state, Erasure)]
    states = [state for state in history if not isinstance(state, Erasure)]
    return tuple(sorted([*erasures, *_newest(states)], key=_position))


class Timeline:
    """A history, arranged so that a message is judged in the same time however many states it has.

    Args:
        history: The history.

    Attributes:
        history: The same.
        erasures: Its erasures.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.erasures = [state for state in history if isinstance(state, Erasure)]
        states = [state for state in history if not isinstance(state, Erasure)]
        self._first = states[0].position if states else None
        self._preferences = [state for state in states if isinstance(state, Preferences)]

    def erases(self, message: Message) -> bool:
        """Return whether an erasure covers a message."""
        return any(erasure.covers(message) for erasure in self.erasures)

    def is_active(self, position: int) -> bool:
        """Return whether there are preferences or an activation before a position."""
        return self._first is not None and self._first < position

    def begins_after(self, position: int) -> bool:
        """Return whether there are such states, but none before: some may have been cut."""
        return self._first is not None and self._first >= position

    def preferences(self, position: int) -> Preferences | None:
        """Return the newest preferences before a position, if there are any."""
        number = bisect_left(self._preferences, position, key=_position)
        return self._preferences[number - 1] if number else None


def _newest(states: Sequence[OwnerState]) -> Iterator[OwnerState]:
    """Yield the states within the limits, newest first, and down to the newest preferences."""
    total, has_preferences = 0, False
    for state in reversed(states[-MAX_STATES:]):
        total += size(state)
        if total > MAX_BYTES and has_preferences:
            return
        has_preferences = has_preferences or isinstance(state, Preferences)
        yield state


def _position(state: ArchiveState) -> int:
    return state.position

"""Histories: the preferences, activations and erasures of an archive, ordered by position.

The policy needs a short history of each owner, not just the current state: a message is judged by
the states before its own position, even when processed late or again, and by all erasures.
"""

from collections.abc import Iterable, Sequence

from stanzalake.model.event import Activation, Erasure, Preferences

OwnerState = Preferences | Activation
ArchiveState = OwnerState | Erasure
History = Sequence[ArchiveState]
"""States of an owner, oldest first."""

MAX_STATES = 1000
"""Preferences and activations kept for an owner: the newest."""


def merge(history: History, states: Iterable[ArchiveState]) -> History:
    """Return a history with more states, without duplicates and obsolete ones.

    The removal of an account ends its preferences: a new account of that name starts without any.
    """
    ordered = sorted({*history, *states}, key=_position)
    erasures = [state for state in ordered if isinstance(state, Erasure)]
    end = max((erasure.position for erasure in erasures if erasure.account), default=0)
    current = [s for s in ordered if not isinstance(s, Erasure) and s.position >= end]
    return tuple(sorted([*erasures, *current[-MAX_STATES:]], key=_position))


def _position(state: ArchiveState) -> int:
    return state.position

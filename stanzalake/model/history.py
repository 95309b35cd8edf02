"""Histories: preferences, activations and erasures of one archive, each with its position.

A short history for each owner instead of a last value: a message is judged by the states before
its position, also if it is processed late or again, and by every erasure.
"""

from collections.abc import Iterable, Sequence

from stanzalake.model.event import Activation, Erasure, Preferences

OwnerState = Preferences | Activation
ArchiveState = OwnerState | Erasure
History = Sequence[ArchiveState]
"""States of one owner, oldest first."""

MAX_STATES = 1000
"""Wishes of one owner that count: the newest ones."""


def merged(history: History, news: Iterable[ArchiveState]) -> History:
    """Give a history with the news in it, each state once, and without what has ended.

    With an account, what it wanted is gone: whoever has its name later starts anew.
    """
    states = sorted({*history, *news}, key=_position)
    erasures = [state for state in states if isinstance(state, Erasure)]
    end = max((erasure.position for erasure in erasures if erasure.account), default=0)
    wishes = [s for s in states if not isinstance(s, Erasure) and s.position >= end]
    return tuple(sorted([*erasures, *wishes[-MAX_STATES:]], key=_position))


def _position(state: ArchiveState) -> int:
    return state.position

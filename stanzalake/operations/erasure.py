"""Erasure by an operator: appended to the log as an event, then applied by a processor."""

import time
from collections.abc import Callable
from functools import partial

from stanzalake.config.settings import Settings
from stanzalake.model.event import VERSION, Erasure
from stanzalake.model.position import MAX_POSITION, from_milliseconds
from stanzalake.operations import change
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion, MessageSummary
from stanzalake.store.erasures import Erasures


class Eraser:
    """Erases messages. Blocking.

    Args:
        settings: All settings.
        store: The store, as a user that may alter tables.
        clock: Returns unix time in seconds.
    """

    def __init__(
        self, settings: Settings, store: Store, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._store = store
        self._erasures = Erasures(store)
        self.deletion = Deletion.of(store, settings)
        self._clock = clock

    def plan(self, owner: str, peer: str, start: int, end: int | None, by: str) -> Erasure:
        """Build the event that erases an owner's messages.

        Args:
            owner: Bare JID of the archive's owner.
            peer: Bare JID; only messages with this peer. Empty for all.
            start: First millisecond, unix time.
            end: Millisecond after the last, unix time; None for all messages until now.
            by: On whose behalf.
        """
        # Imported messages, and those stamped by a fast clock, may lie in this machine's future.
        newest = self.deletion.covered(_erasure(owner, MAX_POSITION, 0, MAX_POSITION)).last
        position = max(from_milliseconds(int(self._clock() * 1000)), newest + 1)
        until = position if end is None else min(from_milliseconds(end), position)
        return _erasure(owner, position, from_milliseconds(start), until, peer, by)

    def covered(self, erasure: Erasure) -> MessageSummary:
        """Summarise the visible messages that an erasure covers."""
        return self.deletion.covered(erasure)

    def erase(self, erasure: Erasure, timeout: float) -> bool:
        """Append an erasure to the log, and wait until no reader sees the messages any more.

        Args:
            erasure: The erasure.
            timeout: Seconds to wait for a processor to apply it.

        Returns:
            False on timeout; the next processor to run applies it.

        Raises:
            InvalidEvent: A processor would reject the event.
            LogUnavailable: May or may not have been appended; erasing again is safe.
        """
        is_in_force = partial(self._erasures.is_in_force, erasure)
        return change.apply(self._settings, self._store, erasure, is_in_force, timeout)


def _erasure(  # noqa: PLR0913, PLR0917  # the event's fields
    owner: str, position: int, start: int, end: int, peer: str = "", by: str = ""
) -> Erasure:
    return Erasure(
        v=VERSION, owner=owner, position=position, peer=peer, start=start, end=end, by=by
    )

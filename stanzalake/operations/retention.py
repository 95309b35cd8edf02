"""An owner's own retention, as an operator looks at it and sets it."""

import time
from collections.abc import Callable

from stanzalake.config.settings import Settings
from stanzalake.model.event import VERSION, Erasure, OwnRetention
from stanzalake.model.page import ArchiveRetention
from stanzalake.model.position import from_milliseconds, seconds_ago
from stanzalake.operations import change
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion, MessageSummary
from stanzalake.store.own_retention import OwnHorizon, OwnRetentions

_NONE = OwnHorizon(position=-1, seconds=0, horizon=0)


class OwnerRetention:
    """The retention of one archive. Blocking.

    Args:
        settings: All settings.
        store: The store, as a user that may alter tables.
        owner: Bare JID of the archive's owner.
        clock: Returns unix time in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        owner: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._store = store
        self._owner = owner
        self._own = OwnRetentions(store)
        self._deletion = Deletion.of(store, settings)
        self._clock = clock

    def read(self) -> ArchiveRetention:
        """Return for how long the archive is kept."""
        host = self._settings.retention.of_host(self._owner.rpartition("@")[2])
        return ArchiveRetention(self._current().seconds, host)

    def hidden_by(self, seconds: int) -> MessageSummary:
        """Summarise the messages that readers see and a period would hide now.

        Args:
            seconds: The period; 0 hides nothing.
        """
        end = seconds_ago(seconds or None, self._clock())
        older = Erasure(v=VERSION, owner=self._owner, position=end, end=end)
        return self._deletion.covered(older)

    def set(self, seconds: int, by: str, timeout: float) -> bool:
        """Have an owner's messages kept for a period; see `change.apply`.

        Args:
            seconds: The period; 0 for the host's.
            by: On whose behalf.
            timeout: Seconds to wait for a processor to apply it.
        """
        now = from_milliseconds(int(1000 * self._clock()))
        # Behind a choice that was stamped by a fast clock.
        position = max(now, self._current().position + 1)
        event = OwnRetention(
            v=VERSION, owner=self._owner, position=position, seconds=seconds, by=by
        )
        is_in_force: Callable[[], bool] = lambda: self._current().position >= position  # noqa: E731  # named
        return change.apply(self._settings, self._store, event, is_in_force, timeout)

    def _current(self) -> OwnHorizon:
        return self._own.read([self._owner]).get(self._owner, _NONE)

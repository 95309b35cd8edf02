"""The cleaner: takes the bytes of what expired or was erased off the disk, from time to time."""

import logging
import time
from collections.abc import Callable

from archive.erasures import Erasures
from archive.errors import StanzalakeError
from archive.position import from_milliseconds
from archive.removal import Removal
from archive.settings import Settings
from archive.store import Store

log = logging.getLogger(__name__)


class Cleaner:
    """Cleans up once in an interval, first when the worker starts. ClickHouse does the work.

    Args:
        settings: How long messages are kept, how often is cleaned, how long the log keeps events.
        store: Where it is recorded what was erased.
        removal: What takes rows out of the store.
        clock: Gives the unix time in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        removal: Removal,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._erasures = Erasures(store)
        self._removal = removal
        self._clock = clock
        self._next = 0.0

    def due(self) -> bool:
        """Tell whether the interval is over."""
        return self._clock() >= self._next

    def clean(self) -> None:
        """Remove what has expired, and the bytes of what was erased. Blocks, but not for long.

        What fails is said and tried again after the interval: messages go on being archived.
        """
        self._next = self._clock() + self._settings.cleanup_interval
        try:
            self._expire()
            self._erase()
            self._removal.clean()
        except StanzalakeError as error:
            log.warning("the clean-up is put off: %s", error)

    def _expire(self) -> None:
        horizon = self._before(self._settings.expires_after)
        expired = self._removal.expired(horizon).messages
        if expired:
            log.info("removing %d expired messages", expired)
            self._removal.expire(horizon)

    def _erase(self) -> None:
        """Erase again: a worker that was given up may have written a message since."""
        recent = self._erasures.since(self._before(self._settings.log_retention))
        if recent and self._removal.covered(recent).messages:
            self._removal.erase(recent)

    def _before(self, seconds: int | None) -> int:
        """Give the position of so many seconds ago; the first one if it is for ever."""
        if seconds is None:
            return 0
        return from_milliseconds(max(0, int(1000 * (self._clock() - seconds))))

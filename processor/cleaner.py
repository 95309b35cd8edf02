"""The cleaner: periodic removal of expired and erased messages from the disk."""

import logging
import time
from collections.abc import Callable

from stanzalake.config.settings import Settings
from stanzalake.errors import StanzalakeError
from stanzalake.model.position import seconds_ago
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.erasures import Erasures

log = logging.getLogger(__name__)

_BETWEEN_SECONDS = 10.0
"""Minimum time between clean-ups, however many are requested."""


class Cleaner:
    """Starts a clean-up in ClickHouse once per interval, the first at the start of the worker.

    Args:
        settings: Retention of messages and of the log, and the interval.
        store: The store, with the record of erasures.
        deletion: Removal of rows.
        clock: Returns the unix time in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        deletion: Deletion,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._erasures = Erasures(store)
        self._deletion = deletion
        self._clock = clock
        self._last = 0.0
        self._requested = False

    def request(self) -> None:
        """Request a clean-up soon, whichever worker keeps the interval."""
        self._requested = True

    def is_due(self, *, regular: bool) -> bool:
        """Return whether to clean up now.

        Args:
            regular: Whether this worker keeps the interval; a single worker is enough.
        """
        since = self._clock() - self._last
        return (self._requested and since >= _BETWEEN_SECONDS) or (
            regular and since >= self._settings.cleanup_interval
        )

    def clean(self) -> None:
        """Remove expired messages, and the bytes of erased ones. Blocks for a short time.

        A failed step is logged and repeated after the interval; archiving goes on.
        """
        self._last, self._requested = self._clock(), False
        for step in (self._expire, self._erase, self._deletion.clean):
            try:
                step()
            except StanzalakeError as error:
                log.warning("a part of the clean-up is put off: %s", error)

    def _expire(self) -> None:
        horizon = self._before(self._settings.expires_after)
        expired = self._deletion.expired(horizon).messages
        if expired:
            log.info("removing %d expired messages", expired)
            self._deletion.expire(horizon)

    def _erase(self) -> None:
        """Repeat erasures: a worker excluded from the group may have written messages since."""
        self._deletion.erase(self._erasures.since(self._before(self._settings.log_retention)))

    def _before(self, seconds: int | None) -> int:
        return seconds_ago(seconds, self._clock())

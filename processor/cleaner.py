"""The cleaner: takes the bytes of what expired or was erased off the disk, from time to time."""

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
"""Between two times at least, however often it is asked for."""


class Cleaner:
    """Cleans up once in an interval, first when the worker starts. ClickHouse does the work.

    Args:
        settings: How long messages are kept, how often is cleaned, how long the log keeps events.
        store: Where it is recorded what was erased.
        deletion: What takes rows out of the store.
        clock: Gives the unix time in seconds.
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
        self._asked = False

    def ask(self) -> None:
        """Have it done soon, whoever keeps the interval."""
        self._asked = True

    def due(self, *, regular: bool) -> bool:
        """Tell whether it is time.

        Args:
            regular: Whether this one keeps the interval; one of all workers is enough.
        """
        since = self._clock() - self._last
        return (self._asked and since >= _BETWEEN_SECONDS) or (
            regular and since >= self._settings.cleanup_interval
        )

    def clean(self) -> None:
        """Remove what has expired, and the bytes of what was erased. Blocks, but not for long.

        What fails is said and tried again after the interval: messages go on being archived.
        """
        self._last, self._asked = self._clock(), False
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
        """Erase again: a worker that was given up may have written a message since."""
        self._deletion.erase(self._erasures.since(self._before(self._settings.log_retention)))

    def _before(self, seconds: int | None) -> int:
        return seconds_ago(seconds, self._clock())

"""Freshness: a query sees every message that was announced before it."""

import logging

from stanzalake.errors import LogRefused, LogUnavailable
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP, Log
from stanzalake.log.watermarks import Watermarks
from stanzalake.observability.log_once import LogOnce
from stanzalake.observability.metrics import (
    FRESHNESS_FAILURES,
    FRESHNESS_SECONDS,
    FRESHNESS_TIMEOUTS,
)


class Freshness:
    """Waits until the processors have committed an owner's events.

    Args:
        log: The log that the processors read.
        timeout: Maximum seconds to wait.
    """

    def __init__(self, log: Log, timeout: float) -> None:
        self._log = log
        self._timeout = timeout
        self._failure = LogOnce(__name__)

    async def reached(self, owner: str, up_to: Watermarks) -> bool:
        """Wait for an owner's events; False if some may be uncommitted.

        Args:
            owner: The archive's owner.
            up_to: Offsets after the owner's events, by partition, as far as known; the end of
                any other partition is waited for.
        """
        with FRESHNESS_SECONDS.time():
            reached = await self._wait_committed(owner, up_to)
        if not reached:
            FRESHNESS_TIMEOUTS.inc()
        return reached

    async def _wait_committed(self, owner: str, up_to: Watermarks) -> bool:
        try:
            reached = await self._log.wait_committed(
                EVENTS, PROCESSOR_GROUP, owner, self._timeout, up_to
            )
        except (LogUnavailable, LogRefused) as error:
            FRESHNESS_FAILURES.labels(error.code).inc()
            level = logging.WARNING if error.retry else logging.ERROR
            self._failure.begin(f"pages are unstable: {error}", level)
            return False
        self._failure.end()
        return reached

"""Freshness: a query sees everything that was announced before it."""

from stanzalake.errors import LogRefused, LogUnavailable
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP, Log
from stanzalake.log.watermarks import Watermarks
from stanzalake.observability.metrics import FRESHNESS_SECONDS, FRESHNESS_TIMEOUTS


class Freshness:
    """Waits until the store has what the log had.

    Args:
        log: The log that the processor reads.
        timeout: Seconds to wait at most.
    """

    def __init__(self, log: Log, timeout: float) -> None:
        self._log = log
        self._timeout = timeout

    async def reached(self, owner: str, up_to: Watermarks) -> bool:
        """Wait for all of an owner's events; false if some may still be on their way.

        Args:
            owner: Whose events.
            up_to: Behind all of them, of the partitions of which it is known; of others, all that
                is in them is waited for.
        """
        with FRESHNESS_SECONDS.time():
            reached = await self._wait_committed(owner, up_to)
        if not reached:
            FRESHNESS_TIMEOUTS.inc()
        return reached

    async def _wait_committed(self, owner: str, up_to: Watermarks) -> bool:
        try:
            return await self._log.wait_committed(
                EVENTS, PROCESSOR_GROUP, owner, self._timeout, up_to
            )
        except (LogUnavailable, LogRefused):
            return False

"""Freshness: a query sees everything that was announced before it."""

from stanzalake.errors import LogRefused, LogUnavailable
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP, Log
from stanzalake.log.watermarks import Ends
from stanzalake.observability.metrics import FRESHNESS_SECONDS, FRESHNESS_TIMEOUTS


class Freshness:
    """Waits until the store has what the log had.

    Args:
        log: The log that the processor reads.
        within: Seconds to wait at most.
    """

    def __init__(self, log: Log, within: float) -> None:
        self._log = log
        self._within = within

    async def reached(self, owner: str, upto: Ends) -> bool:
        """Wait for all of an owner's events; false if some may still be on their way.

        Args:
            owner: Whose events.
            upto: Behind all of them, of the partitions of which it is known; of others, all that
                is in them is waited for.
        """
        with FRESHNESS_SECONDS.time():
            reached = await self._settled(owner, upto)
        if not reached:
            FRESHNESS_TIMEOUTS.inc()
        return reached

    async def _settled(self, owner: str, upto: Ends) -> bool:
        try:
            return await self._log.settled(EVENTS, PROCESSOR_GROUP, owner, self._within, upto)
        except (LogUnavailable, LogRefused):
            return False

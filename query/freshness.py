"""Freshness: a query sees everything that was announced before it."""

from archive.errors import LogUnavailable
from archive.log import EVENTS, PROCESSOR_GROUP, Log


class Freshness:
    """Waits until the store has what the log had.

    Args:
        log: The log that the processor reads.
        within: Seconds to wait at most.
    """

    def __init__(self, log: Log, within: float) -> None:
        self._log = log
        self._within = within

    async def reached(self, owner: str) -> bool:
        """Wait for all of an owner's events; false if some may still be on their way."""
        try:
            return await self._log.settled(EVENTS, PROCESSOR_GROUP, owner, self._within)
        except LogUnavailable:
            return False

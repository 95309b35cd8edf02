"""Patience: what fails for a while is done again until it works, and says so once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stanzalake.errors import StanzalakeError
from stanzalake.observability import health
from stanzalake.observability.log_once import LogOnce

T = TypeVar("T")

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0


class Retry:
    """Of one part of the process, which is up unless something of it has to be done again.

    Args:
        module: Name of the module whose log tells of troubles.
        part: The part's name in the health of the process.
    """

    def __init__(self, module: str, part: str) -> None:
        self._module = module
        self._part = part
        self._failing: set[LogOnce] = set()
        health.report(part, up=True)

    async def until_done(self, act: Callable[[], Awaitable[T]], stop: asyncio.Event) -> T | None:
        """Do it, with growing waits, until it works, and give what it gives; None after the stop.

        Several may be insisted on at a time.

        Raises:
            StanzalakeError: What waiting does not mend.
        """
        trouble, wait = LogOnce(self._module), _FIRST_WAIT
        while True:
            try:
                done = await act()
            except StanzalakeError as error:
                if not error.retry:
                    self._over(trouble)
                    raise
                self._begin(trouble, error)
            else:
                self._over(trouble)
                return done
            if await _stopped(stop, wait):
                return None
            wait = min(2 * wait, _LONGEST_WAIT)

    def _begin(self, trouble: LogOnce, error: StanzalakeError) -> None:
        trouble.begin(f"waiting: {error}")
        self._failing.add(trouble)
        health.report(self._part, up=False)

    def _over(self, trouble: LogOnce) -> None:
        trouble.end()
        self._failing.discard(trouble)
        if not self._failing:
            health.report(self._part, up=True)


async def _stopped(stop: asyncio.Event, within: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), within)
    except TimeoutError:
        return False
    return True

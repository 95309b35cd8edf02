"""Patience: what fails for a while is done again until it works, and says so once."""

import asyncio
from collections.abc import Awaitable, Callable

from archive import health
from archive.errors import StanzalakeError
from archive.trouble import Trouble

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0


class Patience:
    """Of one part of the process, which is up unless something of it has to be done again.

    Args:
        module: Name of the module whose log tells of troubles.
        part: The part's name in the health of the process.
    """

    def __init__(self, module: str, part: str) -> None:
        self._part = part
        self._trouble = Trouble(module)
        self._failing: set[object] = set()
        health.report(part, up=True)

    async def insist(self, act: Callable[[], Awaitable[None]], stop: asyncio.Event) -> bool:
        """Do it, with growing waits, until it works; tell whether it did before the stop.

        Several may be insisted on at a time.

        Raises:
            StanzalakeError: What waiting does not mend.
        """
        wait = _FIRST_WAIT
        while True:
            try:
                await act()
            except StanzalakeError as error:
                if not error.retry:
                    raise
                self._fails(act, error)
            else:
                self._works(act)
                return True
            if await _stopped(stop, wait):
                return False
            wait = min(2 * wait, _LONGEST_WAIT)

    def _fails(self, act: object, error: StanzalakeError) -> None:
        self._failing.add(act)
        self._trouble.begin(f"waiting: {error}")
        health.report(self._part, up=False)

    def _works(self, act: object) -> None:
        self._failing.discard(act)
        if not self._failing:
            self._trouble.end()
            health.report(self._part, up=True)


async def _stopped(stop: asyncio.Event, within: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), within)
    except TimeoutError:
        return False
    return True

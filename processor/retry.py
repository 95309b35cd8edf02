"""Retries with capped exponential backoff."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stanzalake.errors import StanzalakeError
from stanzalake.observability import health
from stanzalake.observability.log_once import LogOnce

T = TypeVar("T")

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0


class Stopped(Exception):  # no error: the service is to end
    """The service is stopping, and a call has not succeeded yet."""


class Retry:
    """Retries the calls of a part of the process, which is down while any of them fails.

    Args:
        module: Name of the logger.
        part: Name of the part in the process's health.
        stop: Set to stop the service.
    """

    def __init__(self, module: str, part: str, stop: asyncio.Event) -> None:
        self._module = module
        self._part = part
        self._stop = stop
        self._failing: set[LogOnce] = set()
        health.report(part, up=True)

    async def until_done(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call until success, and return the result. Concurrent calls are allowed.

        Raises:
            StanzalakeError: An error that a retry does not help with.
            Stopped: The call failed, and the service is stopping.
        """
        failure, wait = LogOnce(self._module), _FIRST_WAIT
        while True:
            try:
                result = await call()
            except StanzalakeError as error:
                if not error.retry:
                    self._end(failure)
                    raise
                self._begin(failure, error)
            else:
                self._end(failure)
                return result
            await self._back_off(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _begin(self, failure: LogOnce, error: StanzalakeError) -> None:
        failure.begin(f"waiting: {error}")
        self._failing.add(failure)
        health.report(self._part, up=False)

    def _end(self, failure: LogOnce) -> None:
        failure.end()
        self._failing.discard(failure)
        if not self._failing:
            health.report(self._part, up=True)

    async def _back_off(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
        raise Stopped

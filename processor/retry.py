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


class Retry:
    """Retries the calls of a part of the process, which is down while any of them fails.

    Args:
        module: Name of the logger.
        part: Name of the part in the process's health.
    """

    def __init__(self, module: str, part: str) -> None:
        self._module = module
        self._part = part
        self._failing: set[LogOnce] = set()
        health.report(part, up=True)

    async def until_done(self, call: Callable[[], Awaitable[T]], stop: asyncio.Event) -> T | None:
        """Repeat a call until success and return the result; None if stopped first.

        Concurrent calls are allowed.

        Raises:
            StanzalakeError: An error that a retry does not help with.
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
            if await _wait_stopped(stop, wait):
                return None
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


async def _wait_stopped(stop: asyncio.Event, timeout: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), timeout)
    except TimeoutError:
        return False
    return True

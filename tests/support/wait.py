"""Waiting for a condition, with a deadline."""

import asyncio
from collections.abc import Callable

_INTERVAL = 0.01


async def until(true: Callable[[], object], within: float = 20.0) -> None:
    """Return once the condition holds.

    Raises:
        TimeoutError: It does not within so many seconds.
    """
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110  # processes and files set no asyncio.Event
            await asyncio.sleep(_INTERVAL)

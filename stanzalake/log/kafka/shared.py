"""A client of aiokafka that concurrent callers share."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from stanzalake.log.kafka import client as kafka

C = TypeVar("C", bound=kafka.Client)


class SharedClient(Generic[C]):
    """Starts a client once for all callers, and a new one after a failure.

    Args:
        make: Creates a client.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._starting: asyncio.Task[C] | None = None

    async def get(self) -> C:
        """Return the client once it is started; raises as its start does.

        A caller that is cancelled does not interrupt the start, for which others may wait.
        """
        if self._starting is None or _failed(self._starting):
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(_failed)
        return await asyncio.shield(self._starting)

    def forget(self, client: C) -> bool:
        """Have the next caller start a new client; False if another has replaced it already.

        The failed client is the caller's to stop.
        """
        starting = self._starting
        if starting is None or not starting.done() or _failed(starting):
            return False
        if starting.result() is not client:
            return False
        self._starting = None
        return True

    async def close(self) -> None:
        """Stop the client, also while it starts."""
        starting, self._starting = self._starting, None
        if starting is None:
            return
        starting.cancel()
        await asyncio.wait({starting})
        if not _failed(starting):
            await kafka.stop(starting.result())

    async def _start(self) -> C:
        client = self._make()
        await kafka.start(client)
        return client


def _failed(task: "asyncio.Task[C]") -> bool:
    """Return whether a task has ended without a result; its error counts as retrieved."""
    return task.done() and (task.cancelled() or task.exception() is not None)

"""Turns: a bounded number of requests at work at a time, shared fairly among owners."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from operator import itemgetter


@dataclass(slots=True)
class _Queue:
    """Number of an owner's requests at work, and the waiting requests."""

    working: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Turns:
    """Admits the owner with the fewest requests at work, round-robin among equals.

    An owner with many requests delays another owner's by the requests at work, not by the
    waiting ones.

    Args:
        limit: Requests at work at a time.
        owner_limit: Requests of a single owner among them.
    """

    def __init__(self, limit: int, owner_limit: int) -> None:
        self._free = limit
        self._owner_limit = owner_limit
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def take(self, owner: str) -> AsyncIterator[None]:
        """Wait for a turn of this owner, kept for the block."""
        queue = self._queues.setdefault(owner, _Queue())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.waiting.append(turn)
        self._admit()
        try:
            await turn
            yield
        finally:
            self._leave(owner, queue, turn)

    def _leave(self, owner: str, queue: _Queue, turn: asyncio.Future[None]) -> None:
        if turn in queue.waiting:
            queue.waiting.remove(turn)
        else:
            queue.working -= 1
            self._free += 1
            # To the end of the round, behind who has come meanwhile.
            self._queues[owner] = self._queues.pop(owner)
        if not queue.working and not queue.waiting:
            del self._queues[owner]
        self._admit()

    def _admit(self) -> None:
        while self._free and (owner := self._next()) is not None:
            queue = self._queues[owner]
            queue.working += 1
            self._free -= 1
            turn = queue.waiting.popleft()
            if not turn.done():
                turn.set_result(None)

    def _next(self) -> str | None:
        ready = (
            (queue.working, owner)
            for owner, queue in self._queues.items()
            if queue.waiting and queue.working < self._owner_limit
        )
        return min(ready, key=itemgetter(0), default=(0, None))[1]

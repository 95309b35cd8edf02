"""Requests that are answered alone while few come, and together where several wait."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from stanzalake.errors import StanzalakeError

Request = TypeVar("Request", bound=Hashable)
Answer = TypeVar("Answer")

_RESOLUTION = 0.001
"""Seconds by which a timer may fire early."""


class Batches(Generic[Request, Answer]):
    """Answers at once while no call is at work; those who wait meanwhile share the next call.

    So a lone request is never delayed, and batches grow with the load. Requests of the same turn of
    the event loop, as a read from a socket brings them, are answered together. Behind a slow call a
    request waits for `patience` before it gets another.

    Args:
        alone: Answers a request.
        together: Answers several distinct requests; may leave some out.
        calls: Calls at a time.
        limit: Requests of a call at most.
        patience: Seconds after which requests have another call at work beside the first.
    """

    def __init__(
        self,
        alone: Callable[[Request], Awaitable[Answer]],
        together: Callable[[Sequence[Request]], Awaitable[Mapping[Request, Answer]]],
        calls: int,
        limit: int,
        patience: float,
    ) -> None:
        self._alone = alone
        self._together = together
        self._calls = calls
        self._limit = limit
        self._patience = patience
        self._waiting: deque[tuple[Request, asyncio.Future[Answer], float]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, request: Request) -> Answer:
        """Answer a request; raises as `alone` does."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        due = loop.time() + self._patience
        self._waiting.append((request, future, due))
        loop.call_soon(self._start)
        timer = loop.call_at(due, self._start)
        try:
            return await future
        finally:
            timer.cancel()

    def _start(self) -> None:
        """Start a call if none is at work, or another one for who is due."""
        now = asyncio.get_running_loop().time() + _RESOLUTION
        while self._waiting and len(self._tasks) < self._calls:
            if self._tasks and self._waiting[0][-1] > now:
                return
            taken = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
            # Nobody waits for a request that was cancelled.
            batch = [(request, future) for request, future, _ in taken if not future.done()]
            if batch:
                task = asyncio.create_task(self._serve(batch))
                self._tasks.add(task)
                task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start()

    async def _serve(self, batch: Sequence[tuple[Request, asyncio.Future[Answer]]]) -> None:
        answers: Mapping[Request, Answer] = {}
        try:
            if len(batch) > 1:
                # Asked alone, the request at fault gets the error, and the others their answers.
                with suppress(StanzalakeError):
                    answers = await self._together([request for request, _ in batch])
            await asyncio.gather(*(self._answer(*asked, answers) for asked in batch))
        finally:
            for _, future in batch:
                future.cancel()

    async def _answer(
        self, request: Request, future: asyncio.Future[Answer], answers: Mapping[Request, Answer]
    ) -> None:
        try:
            known = answers.get(request)
            answer = await self._alone(request) if known is None else known
        except Exception as error:  # noqa: BLE001  # goes to who asked
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(answer)

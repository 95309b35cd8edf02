"""Turns are shared among owners."""

import asyncio

import pytest

from query.turns import Turns
from tests.support.wait import until


class Work:
    """Requests that wait for a turn and hold it until they are released."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.begun: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.release: dict[str, asyncio.Event] = {}

    def add(self, name: str) -> None:
        self.release[name] = asyncio.Event()
        self.tasks.append(asyncio.create_task(self._hold(name)))

    async def _hold(self, name: str) -> None:
        async with self.turns.take(name[0]):
            self.begun.append(name)
            await self.release[name].wait()

    async def reach(self, *names: str) -> None:
        await until(lambda: len(self.begun) >= len(names))
        assert self.begun == list(names)


@pytest.fixture
def work() -> Work:
    return Work(Turns(limit=3, owner_limit=2))


async def test_an_owner_with_many_requests_lets_another_one_through(work: Work) -> None:
    for number in range(9):
        work.add(f"a{number}")
    await work.reach("a0", "a1")
    work.add("b0")
    await work.reach("a0", "a1", "b0")
    work.add("b1")
    work.add("c0")
    work.release["a0"].set()
    # Who has not had a turn yet comes first, then who had theirs longest ago.
    await work.reach("a0", "a1", "b0", "c0")
    work.release["a1"].set()
    await work.reach("a0", "a1", "b0", "c0", "a2")
    for task in work.tasks:
        task.cancel()


async def test_a_request_that_is_given_up_leaves_its_turn_to_the_next(work: Work) -> None:
    for name in ("a0", "a1", "a2", "a3"):
        work.add(name)
    await work.reach("a0", "a1")
    work.tasks[2].cancel()
    work.tasks[0].cancel()
    await work.reach("a0", "a1", "a3")
    work.release["a1"].set()
    work.release["a3"].set()
    await asyncio.gather(*work.tasks, return_exceptions=True)
    work.add("a4")
    await work.reach("a0", "a1", "a3", "a4")
    work.release["a4"].set()

"""Turns are shared among owners."""

import asyncio
import gc
import weakref

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


async def test_equals_have_turns_one_after_the_other() -> None:
    work = Work(Turns(limit=1, owner_limit=1))
    for name in ("a0", "a1", "b0"):
        work.add(name)
    await work.reach("a0")
    work.release["a0"].set()
    await work.reach("a0", "b0")
    for task in work.tasks:
        task.cancel()


async def test_nothing_is_kept_of_an_owner_without_requests() -> None:
    class Owner(str):
        """A text whose end can be seen."""

        __slots__ = ("__weakref__",)

    turns, owner = Turns(limit=1, owner_limit=1), Owner("a")
    kept = weakref.ref(owner)
    async with turns.take(owner):
        pass
    del owner
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("given_up", [(2, 0), (0, 2)])
async def test_a_request_that_is_given_up_leaves_its_turn_to_the_next(
    work: Work, given_up: tuple[int, int]
) -> None:
    for name in ("a0", "a1", "a2", "a3"):
        work.add(name)
    await work.reach("a0", "a1")
    for number in given_up:
        work.tasks[number].cancel()
    await work.reach("a0", "a1", "a3")
    work.release["a1"].set()
    work.release["a3"].set()
    ends = await asyncio.gather(*work.tasks, return_exceptions=True)
    assert not any(isinstance(end, Exception) for end in ends)
    work.add("a4")
    await work.reach("a0", "a1", "a3", "a4")
    work.release["a4"].set()

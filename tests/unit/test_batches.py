"""Requests that wait share a call; a lone one waits for nobody."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from stanzalake.errors import StoreRefused, StoreUnavailable
from stanzalake.store.batches import Batches
from tests.support.wait import until


class Calls:
    """Calls that wait until they are released; `poison` is refused."""

    def __init__(self, limit: int = 9, calls: int = 1, patience: float = 9.0) -> None:
        self.made: list[list[str]] = []
        self.released = asyncio.Event()
        self.batches = Batches(self._alone, self._together, calls, limit, patience)

    async def _alone(self, request: str) -> str:
        self.made.append([request])
        await self.released.wait()
        if request == "poison":
            raise StoreRefused("poison")
        return request.upper()

    async def _together(self, requests: Sequence[str]) -> Mapping[str, str]:
        self.made.append(list(requests))
        await self.released.wait()
        if "poison" in requests:
            raise StoreUnavailable("a request is poisoned")
        return {request: request.upper() for request in requests if request != "omitted"}

    async def ask(self, *requests: str) -> "list[asyncio.Task[str]]":
        """Ask all at once, and wait for the first call."""
        tasks = [asyncio.create_task(self.batches.ask(request)) for request in requests]
        await until(lambda: bool(self.made))
        return tasks


async def test_who_asks_at_once_shares_a_call() -> None:
    calls = Calls(limit=3)
    asked = await calls.ask("a", "b", "c", "d", "e")
    assert calls.made == [["a", "b", "c"]]
    calls.released.set()
    assert await asyncio.gather(*asked) == ["A", "B", "C", "D", "E"]
    assert calls.made == [["a", "b", "c"], ["d", "e"]]
    assert await calls.batches.ask("f") == "F"


async def test_who_waits_shares_the_next_call() -> None:
    calls = Calls(calls=2)
    asked = [*await calls.ask("a"), *await calls.ask("b"), *await calls.ask("c")]
    calls.released.set()
    assert await asyncio.gather(*asked) == ["A", "B", "C"]
    assert calls.made == [["a"], ["b", "c"]]


async def test_behind_a_slow_call_who_waits_long_gets_another() -> None:
    calls = Calls(calls=2, patience=0.01)
    asked = [*await calls.ask("a"), *await calls.ask("b", "c")]
    await until(lambda: len(calls.made) > 1)
    asked += await calls.ask("d")
    calls.released.set()
    assert await asyncio.gather(*asked) == ["A", "B", "C", "D"]
    assert calls.made == [["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize("odd", ["poison", "omitted"])
async def test_an_error_reaches_only_its_own_request(odd: str) -> None:
    calls = Calls()
    asked = await calls.ask("a", "b", odd, "c")
    calls.released.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    failed = answers.pop(2)
    assert answers == ["A", "B", "C"]
    assert failed == "OMITTED" if odd == "omitted" else isinstance(failed, StoreRefused)


async def test_a_request_that_was_given_up_is_not_called_for() -> None:
    calls = Calls()
    asked = [*await calls.ask("a"), *await calls.ask("b", "c")]
    asked[1].cancel()
    await asyncio.wait([asked[1]])
    calls.released.set()
    assert [await asked[0], await asked[2]] == ["A", "C"]
    assert calls.made == [["a"], ["c"]]


async def test_requests_do_not_wait_for_calls_that_were_cancelled() -> None:
    calls = Calls()
    [asked] = await calls.ask("a")
    for call in asyncio.all_tasks() - {asked, asyncio.current_task()}:
        call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

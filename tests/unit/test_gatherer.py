"""The gatherer waits for nobody while little comes, and batches while much comes."""

import asyncio
import math
import selectors
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any

import pytest

from processor import gatherer
from processor.gatherer import Gatherer, Limits
from processor.retry import Retry
from stanzalake.log.base import Record
from stanzalake.log.pace import Pace
from tests.support.wait import until

SECONDS = 0.2
TICK = 0.05


class Feed:
    """A consumer whose reads return the given records, each read one list."""

    def __init__(self, *reads: Sequence[int]) -> None:
        self.reads = [list(read) for read in reads]
        self.wanted: dict[int, int] = {}
        self.left = 0
        self.part = 1.0

    async def read(self, limit: int, timeout: float) -> Sequence[Record]:
        if not self.reads:
            await asyncio.sleep(timeout)
            return ()
        return [Record(0, offset, "juliet", b"x") for offset in self.reads.pop(0)][:limit]

    async def commit(self, offsets: Mapping[int, int]) -> None:
        raise NotImplementedError

    def partitions(self) -> Collection[int]:
        raise NotImplementedError

    def share(self) -> float:
        return self.part

    def lag(self) -> Mapping[int, int]:
        return {0: self.left + sum(map(len, self.reads))}

    def awaited(self) -> Mapping[int, int]:
        return self.wanted

    async def close(self) -> None:
        raise NotImplementedError


class Stream(Feed):
    """A feed of a record for each tick of the loop's clock."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.part = part
        self._next = 0

    async def read(self, limit: int, timeout: float) -> Sequence[Record]:
        first, clock = self._next, asyncio.get_running_loop().time
        if first * TICK > clock():
            await asyncio.sleep(min(timeout, first * TICK - clock()))
        self._next = max(first, min(first + limit, math.floor(clock() / TICK + 0.01) + 1))
        return [Record(0, offset, "juliet", b"x") for offset in range(first, self._next)]


class FakeTime(selectors.SelectSelector):
    """A selector that does not wait, but advances the clock of its loop."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0
        return super().select(0)


def run_fast(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on a clock that jumps to the next moment that anything waits for."""
    time = FakeTime()

    def loop() -> asyncio.AbstractEventLoop:
        one = asyncio.SelectorEventLoop(time)
        one.time = lambda: time.now  # type: ignore[method-assign]  # the clock of its timers
        return one

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work)


async def gather(feed: Feed, batches: int, rows: int = 100) -> list[tuple[list[int], str]]:
    stop = asyncio.Event()
    limits = Limits(rows, SECONDS)
    one = Gatherer(feed, limits, Retry(__name__, "processor", stop), stop)
    gathered = [await one.gather() for _ in range(batches)]
    return [([record.offset for record in records], cause) for records, cause in gathered]


async def test_a_batch_after_a_quiet_time_waits_for_nobody() -> None:
    assert await gather(Feed([1], [2]), 1) == [([1, 2], "quiet")]


async def test_what_is_there_to_read_is_read_first() -> None:
    assert await gather(Feed([1], [2], [3]), 1) == [([1, 2, 3], "quiet")]


async def test_what_is_left_to_read_is_waited_for_until_a_batch_is_old() -> None:
    feed = Feed([1])
    feed.left = 1
    assert await gather(feed, 1) == [([1], "age")]


async def test_a_steady_stream_is_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatherer, "_BURST", 0.5)
    assert await gather(Feed([1], [2], [3]), 1) == [([1, 2, 3], "age")]


async def test_a_batch_that_a_page_waits_for_ends_at_once() -> None:
    feed = Feed([5, 6])
    feed.left = 1
    feed.wanted = {0: 6}
    assert await gather(feed, 1) == [([5, 6], "awaited")]


async def test_a_page_that_waits_for_an_earlier_batch_ends_no_other() -> None:
    feed = Feed([5, 6])
    feed.left = 1
    feed.wanted = {0: 5}
    assert await gather(feed, 1) == [([5, 6], "age")]


async def test_a_full_batch_ends() -> None:
    assert await gather(Feed([1, 2], [3]), 1, rows=2) == [([1, 2], "rows")]


async def test_no_more_is_read_than_fits_into_a_batch() -> None:
    assert await gather(Feed([1], [2, 3]), 1, rows=2) == [([1, 2], "rows")]


async def test_a_batch_ends_at_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatherer, "READ_BYTES", 2)
    assert await gather(Feed([1], [2], [3]), 1) == [([1, 2], "bytes")]


@pytest.mark.parametrize(("gathered", "late"), [(1, [8, 9]), (2, [8]), (3, []), (4, [])])
async def test_what_comes_late_fits_into_the_batch(
    monkeypatch: pytest.MonkeyPatch, gathered: int, late: list[int]
) -> None:
    feed, stop = Feed([8, 9]), asyncio.Event()
    one = Gatherer(feed, Limits(3, SECONDS), Retry(__name__, "processor", stop), stop)
    records = [Record(0, offset, "juliet", b"x") for offset in range(gathered)]
    assert [record.offset for record in await one.read_late(records)] == late
    assert feed.reads == ([] if late else [[8, 9]])
    feed.reads = [[8, 9]]
    monkeypatch.setattr(gatherer, "READ_BYTES", gathered)
    assert await one.read_late(records) == ()


async def test_a_gatherer_leaves_no_task_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatherer, "_IDLE_SECONDS", 60.0)
    await gather(Feed([1], [2]), 1)
    await until(lambda: len(asyncio.all_tasks()) == 1)
    gathering = asyncio.create_task(gather(Feed(), 1))
    await until(lambda: len(asyncio.all_tasks()) == 4)
    gathering.cancel()
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_a_stop_does_not_wait_for_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatherer, "_IDLE_SECONDS", 60.0)
    stop = asyncio.Event()
    one = Gatherer(Feed(), Limits(100, 60.0), Retry(__name__, "processor", stop), stop)
    asyncio.get_running_loop().call_soon(stop.set)
    async with asyncio.timeout(10):
        assert await one.gather() == ([], "stop")


async def test_a_stop_takes_along_the_records_that_are_being_read() -> None:
    feed, stop, arrived = Feed([5, 6]), asyncio.Event(), asyncio.Event()

    async def read(limit: int, timeout: float) -> Sequence[Record]:
        await arrived.wait()
        return await Feed.read(feed, limit, timeout)

    feed.read = read  # type: ignore[method-assign]  # a log that takes its time
    one = Gatherer(feed, Limits(100, 60.0), Retry(__name__, "processor", stop), stop)
    gathering = asyncio.ensure_future(one.gather())
    asyncio.get_running_loop().call_soon(stop.set)
    await stop.wait()
    arrived.set()
    records, cause = await gathering
    assert ([record.offset for record in records], cause) == ([5, 6], "stop")


class WaitingPages(Stream):
    """A stream of records, of which pages await the newest ones at a steady rate."""

    def __init__(self, rate: float) -> None:
        super().__init__(part=1)
        self._rate = rate
        self._asked = 0

    def awaited(self) -> Mapping[int, int]:
        """Return it as a consumer does: what it was told stays until more is told."""
        asked = math.floor(asyncio.get_running_loop().time() * self._rate)
        if asked > self._asked:
            self._asked, self.wanted = asked, {0: self._next}
        return self.wanted


async def count_batches(feed: Feed, seconds: float) -> int:
    """Return how many batches a processor makes of a steady stream."""
    stop, made = asyncio.Event(), 0
    one = Gatherer(feed, Limits(10_000, SECONDS), Retry(__name__, "processor", stop), stop)
    while asyncio.get_running_loop().time() < seconds:
        made += bool((await one.gather())[0])
    return made


@pytest.mark.parametrize("owned", [[12], [6, 6], [7, 3, 2], [1] * 12])
def test_the_number_of_batches_does_not_depend_on_the_number_of_processors(
    owned: Sequence[int],
) -> None:
    async def work() -> None:
        feeds = [Stream(part / sum(owned)) for part in owned]
        made = await asyncio.gather(*(count_batches(feed, 60) for feed in feeds))
        assert 60 / SECONDS * 0.8 <= sum(made) <= 60 / SECONDS + 6 * len(owned)

    run_fast(work())


@pytest.mark.parametrize("rate", [0.5, 2, 4, 4.9])
def test_waiting_pages_end_batches_early_and_make_no_more_of_them(rate: float) -> None:
    async def work() -> None:
        made = await count_batches(WaitingPages(rate), 60)
        assert 60 / SECONDS * 0.8 <= made <= 60 / SECONDS + 6

    run_fast(work())


@pytest.mark.parametrize(
    ("part", "seconds", "age"),
    [(1, 0.2, 0.2), (0.25, 0.2, 0.8), (0.01, 0.2, 2.5), (0.5, 3, 3), (0.5, 60, 60)],
)
def test_a_batch_grows_old_with_the_share_up_to_a_limit(
    part: float, seconds: float, age: float
) -> None:
    async def work() -> None:
        feed, stop = Feed([1]), asyncio.Event()
        feed.left, feed.part = 1, part
        one = Gatherer(feed, Limits(100, seconds), Retry(__name__, "processor", stop), stop)
        assert (await one.gather())[1] == "age"
        assert asyncio.get_running_loop().time() == pytest.approx(age)

    run_fast(work())


def test_a_batch_ends_once_few_have_been_made_lately(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatherer, "_BURST", 1.0)

    async def work() -> None:
        feed, stop, loop = Feed(), asyncio.Event(), asyncio.get_running_loop()
        one = Gatherer(feed, Limits(100, 60), Retry(__name__, "processor", stop), stop)
        for begin, end in ((0, 0), (30, 69)):
            await asyncio.sleep(begin)
            feed.reads = [[1]]
            assert (await one.gather())[1] == "quiet"
            assert loop.time() == pytest.approx(end, abs=1)

    run_fast(work())


def test_a_batch_ends_soon_once_a_rebalance_begins() -> None:
    """The other members wait for its commit."""

    async def work() -> None:
        feed, stop, loop = Feed([1]), asyncio.Event(), asyncio.get_running_loop()
        feed.left, feed.part = 1, 0.1
        begin = 1.1
        loop.call_at(begin, setattr, feed, "part", 1.0)
        one = Gatherer(feed, Limits(100, SECONDS), Retry(__name__, "processor", stop), stop)
        assert (await one.gather())[1] == "age"
        assert begin <= loop.time() <= begin + SECONDS

    run_fast(work())


def test_a_batch_of_a_small_share_that_a_page_waits_for_ends_at_once() -> None:
    async def work() -> None:
        feed = Feed([5, 6])
        feed.left, feed.part, feed.wanted = 1, 0.1, {0: 6}
        assert await gather(feed, 1) == [([5, 6], "awaited")]
        assert not asyncio.get_running_loop().time()

    run_fast(work())


def test_a_pace_is_one_batch_an_interval_and_a_few_after_a_quiet_time() -> None:
    now = 0.0
    pace = Pace(lambda: SECONDS, lambda: now, 5.0)
    made = 0
    for step in range(1_000):
        now = step / 100
        if not pace.wait():
            pace.count()
            made += 1
    assert made == 10 / SECONDS + 5 - 1

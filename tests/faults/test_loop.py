"""The loop under a store and a log that fail for a while: nothing lost, nothing committed early."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from archive.errors import LogUnavailable, StoreRefused, StoreUnavailable
from archive.local_log import LocalLog
from archive.log import EVENTS, PROCESSOR_GROUP, REJECTED, Entry
from archive.settings import DEFAULT_EXCLUSIONS
from archive.store import Row
from processor.batch import Rules
from processor.loop import Limits, Loop
from processor.policy import Policy
from processor.sink import Sink
from tests.support.events import JULIET, encoded
from tests.support.wait import until

SOON = 10.0


class Rows:
    """A store that keeps rows in a list, and fails when told to: the engine cannot be made to."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.batches: list[int] = []
        self.failures: list[Exception] = []

    def insert(self, rows: Sequence[Row], part: str = "") -> None:
        assert part == ""
        if self.failures:
            raise self.failures.pop(0)
        self.rows += rows
        self.batches.append(len(rows))

    def select(self, *_: object) -> list[object]:
        return []

    table = "messages"

    @property
    def positions(self) -> list[int]:
        return [row.position for row in self.rows]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[LocalLog]:
    log = LocalLog(tmp_path / "log.sqlite")
    yield log
    await log.close()


@asynccontextmanager
async def working(
    log: LocalLog, store: Rows, limits: Limits | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    consumer = await log.consumer(EVENTS, PROCESSOR_GROUP)
    sink = Sink(store)  # type: ignore[arg-type]  # stands in for the engine
    rules = Rules(Policy("true"), DEFAULT_EXCLUSIONS)
    loop = Loop(log, consumer, sink, rules, limits or Limits(100, 0.01))
    task = asyncio.ensure_future(loop.run(stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(SOON):
            await asyncio.wait({task})


async def send(log: LocalLog, *values: bytes) -> None:
    await log.append(EVENTS, [Entry(JULIET, value) for value in values])


async def settled(log: LocalLog) -> bool:
    return await log.settled(EVENTS, PROCESSOR_GROUP, JULIET, SOON)


async def test_it_writes_and_commits(log: LocalLog) -> None:
    store = Rows()
    async with working(log, store):
        await send(log, encoded(1), encoded(2))
        assert await settled(log)
    assert store.positions == [1, 2]


async def test_it_gathers_until_a_batch_is_full(log: LocalLog) -> None:
    store = Rows()
    await send(log, *(encoded(n) for n in range(25)))
    async with working(log, store, Limits(10, 60)):
        await until(lambda: len(store.rows) == 20)
    assert store.batches[:2] == [10, 10]


async def test_it_waits_for_a_store_that_is_away(log: LocalLog) -> None:
    store = Rows()
    store.failures = [StoreUnavailable("away")] * 2
    await send(log, encoded(1))
    async with working(log, store):
        assert await settled(log)
    assert store.positions == [1]


async def test_it_stops_while_the_store_is_away_and_commits_nothing(log: LocalLog) -> None:
    store = Rows()
    store.failures = [StoreUnavailable("away")] * 1000
    await send(log, encoded(1))
    async with working(log, store):
        await until(lambda: len(store.failures) < 1000)
    store.failures = []
    async with working(log, store):
        assert await settled(log)
    assert store.positions == [1]


async def test_a_commit_that_fails_only_repeats(
    log: LocalLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Rows()
    commit = log.commit
    failures = [LogUnavailable("away")]

    async def fail_once(*arguments: object) -> None:
        if failures:
            raise failures.pop()
        await commit(*arguments)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(log, "commit", fail_once)
    async with working(log, store):
        await send(log, encoded(1))
        assert await settled(log)
    assert store.positions == [1, 1]


async def test_a_store_that_refuses_ends_the_worker_uncommitted(log: LocalLog) -> None:
    store = Rows()
    store.failures = [StoreRefused("no such table")]
    await send(log, encoded(1))
    async with working(log, store) as task:
        await asyncio.wait({task}, timeout=SOON)
        assert isinstance(task.exception(), StoreRefused)
    assert not await log.settled(EVENTS, PROCESSOR_GROUP, JULIET, 0)


async def test_garbage_is_kept_aside_and_the_rest_flows(log: LocalLog) -> None:
    store = Rows()
    async with working(log, store):
        await send(log, encoded(1), b"garbage", encoded(3))
        assert await settled(log)
    assert store.positions == [1, 3]
    rejected = await log.consumer(REJECTED, "test")
    [record] = await rejected.read(10, SOON)
    assert record.value == b"garbage"
    assert dict(record.headers)["source"].startswith(EVENTS)

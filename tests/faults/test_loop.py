"""The processor's loop with a store and a log that fail at times."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from processor import gatherer
from processor.batch import Rules
from processor.cleaner import Cleaner
from processor.gatherer import Limits
from processor.loop import Loop
from processor.policy import Policy
from processor.sink import Sink
from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from stanzalake.errors import (
    LogUnavailable,
    RowRefused,
    StoreRefused,
    StoreUnavailable,
    TooManyRejected,
)
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP, REJECTED, Entry, Record
from stanzalake.log.sqlite import LocalLog
from stanzalake.model.event import VERSION, DefaultChoice, Expiry, Message, Preferences, encode
from stanzalake.model.history import Timeline
from stanzalake.observability.metrics import EVENTS_PROCESSED
from tests.support.events import JULIET, encoded
from tests.support.settings import load
from tests.support.wait import until

SOON = 10.0


class Rows:
    """A store that keeps rows in a list, and fails when told to: the engine cannot be made to."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.states: list[Any] = []
        self.batches: list[int] = []
        self.failures: list[Exception] = []
        self.failing_states: list[Exception] = []
        self.refused: set[int] = set()

    def insert(self, rows: Sequence[Any], part: str = "") -> None:
        failures = self.failing_states if part else self.failures
        if failures and rows:
            raise failures.pop(0)
        if self.refused.intersection(row.position for row in rows):
            raise RowRefused("it does not fit")
        if part:
            self.states += rows
        else:
            self.rows += rows
            self.batches.append(len(rows))

    def select(self, *arguments: object) -> list[object]:
        return [tuple(state) for state in self.states] if "policy" in str(arguments[0]) else []

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
    cleaner = Cleaner(load(), store)  # type: ignore[arg-type]  # it does not run
    rules = Rules(Policy("true"), DEFAULT_EXCLUSIONS)
    limits = limits or Limits(100, 0.01)
    loop = Loop(log, consumer, sink, rules, limits=limits, cleaner=cleaner, stop=stop)
    task = asyncio.ensure_future(loop.run())
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(SOON):
            await asyncio.wait({task})


async def send(log: LocalLog, *values: bytes) -> None:
    await log.append(EVENTS, [Entry(JULIET, value) for value in values])


async def test_an_expiry_event_requests_a_clean_up(
    log: LocalLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Cleaner] = []
    monkeypatch.setattr(Cleaner, "request", lambda cleaner: asked.append(cleaner))  # noqa: PLW0108  # a method
    async with working(log, Rows()):
        await send(log, encode(Expiry(v=VERSION, owner="capulet.lit", position=1)))
        await until(lambda: len(asked) == 1)


async def wait_committed(log: LocalLog) -> bool:
    return await log.wait_committed(EVENTS, PROCESSOR_GROUP, JULIET, SOON)


async def test_a_batch_is_written_and_committed(log: LocalLog) -> None:
    store = Rows()
    async with working(log, store):
        await send(log, encoded(1), encoded(2))
        assert await wait_committed(log)
    assert store.positions == [1, 2]


async def test_records_are_gathered_until_a_batch_is_full(log: LocalLog) -> None:
    store = Rows()
    await send(log, *(encoded(n) for n in range(25)))
    async with working(log, store, Limits(10, 60)):
        await until(lambda: len(store.rows) == 25)
    assert store.batches == [10, 10, 5]


async def test_a_page_in_the_same_process_ends_the_gathering_that_it_waits_for(
    log: LocalLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gatherer, "_BURST", 0.5)
    store = Rows()
    async with working(log, store, Limits(10, 60)):
        await send(log, encoded(1))
        assert await log.wait_committed(EVENTS, PROCESSOR_GROUP, JULIET, 10)


async def test_a_batch_waits_for_an_unavailable_store(log: LocalLog) -> None:
    store = Rows()
    store.failures = [StoreUnavailable("away")] * 2
    await send(log, encoded(1))
    async with working(log, store):
        assert await wait_committed(log)
    assert store.positions == [1]


async def test_nothing_is_committed_when_stopped_while_the_store_is_away(log: LocalLog) -> None:
    store = Rows()
    store.failures = [StoreUnavailable("away")] * 1000
    await send(log, encoded(1))
    async with working(log, store):
        await until(lambda: len(store.failures) < 1000)
    store.failures = []
    async with working(log, store):
        assert await wait_committed(log)
    assert store.positions == [1]


def outcomes() -> dict[str, float]:
    """Return the number of processed events by outcome."""
    [metric] = EVENTS_PROCESSED.collect()
    return {s.labels["outcome"]: s.value for s in metric.samples if s.name.endswith("_total")}


class Steps:
    """Counts the attempts of a log's calls, and fails the first ones.

    Args:
        call: The log's method.
        failures: Number of attempts that fail.
    """

    def __init__(self, call: Callable[..., Awaitable[Any]], failures: int) -> None:
        self._call = call
        self._failures = failures
        self.attempts = 0

    async def __call__(self, *arguments: Any) -> Any:
        self.attempts += 1
        if self.attempts <= self._failures:
            raise LogUnavailable("away")
        return await self._call(*arguments)


FAILURES = 5
EVENTS_OF_BATCH = [
    encode(Preferences(v=VERSION, owner=JULIET, position=1, default="always", always=(), never=())),
    *(encoded(n) for n in range(2, 10)),
    b"garbage",
]


@pytest.mark.parametrize("failing", ["states", "rows", "dead letters", "commit"])
async def test_each_step_of_a_checkpoint_is_retried_alone(
    log: LocalLog, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Ten events make an insert of eight rows, a state, a dead letter and a commit, once each."""
    monkeypatch.setattr("processor.retry._FIRST_WAIT", 0.001)
    store = Rows()
    store.failing_states += [StoreUnavailable("away")] * FAILURES * (failing == "states")
    store.failures += [StoreUnavailable("away")] * FAILURES * (failing == "rows")
    appends = Steps(log.append, FAILURES * (failing == "dead letters"))
    commits = Steps(log.commit, FAILURES * (failing == "commit"))
    await send(log, *EVENTS_OF_BATCH)
    monkeypatch.setattr(log, "append", appends)
    monkeypatch.setattr(log, "commit", commits)
    before = outcomes()
    async with working(log, store, Limits(len(EVENTS_OF_BATCH), 60)):
        assert await wait_committed(log)
    assert (store.batches, len(store.states), len(await dead_letters(log))) == ([8], 1, 1)
    assert appends.attempts == 1 + FAILURES * (failing == "dead letters")
    assert commits.attempts == 1 + FAILURES * (failing == "commit")
    counted = {name: value - before.get(name, 0) for name, value in outcomes().items()}
    assert counted == {"stored": 8, "state": 1, "rejected": 1, "filtered": 0}


async def test_no_message_is_stored_before_what_hides_it(log: LocalLog) -> None:
    store = Rows()
    store.failing_states += [StoreUnavailable("away")] * 1000
    await send(log, *EVENTS_OF_BATCH)
    async with working(log, store, Limits(len(EVENTS_OF_BATCH), 60)):
        await until(lambda: len(store.failing_states) < 1000)
        assert store.rows == []


class Held(Rows):
    """A store that delays inserts until released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.free = threading.Event(), threading.Event()

    def insert(self, rows: Sequence[Any], part: str = "") -> None:
        self.entered.set()
        assert self.free.wait(SOON)
        super().insert(rows, part)


class Counting(Policy):
    """A policy that tells how many messages it judged."""

    judged = 0

    def admits(self, message: Message, timeline: Timeline) -> bool:
        Counting.judged += 1
        return super().admits(message, timeline)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> type[Counting]:
    monkeypatch.setattr("tests.faults.test_loop.Policy", Counting)
    monkeypatch.setattr(Counting, "judged", 0)
    return Counting


async def test_the_next_batch_is_judged_while_one_is_written(
    log: LocalLog, judged: type[Counting]
) -> None:
    store = Held()
    async with working(log, store, Limits(1, 60)):
        await send(log, encoded(1), encoded(2), encoded(3))
        await until(lambda: judged.judged == 2)
        assert store.rows == []
        assert not await log.wait_committed(EVENTS, PROCESSOR_GROUP, JULIET, 0)
        store.free.set()
        assert await wait_committed(log)
    assert store.batches == [1, 1, 1]
    assert store.positions == [1, 2, 3]


async def test_what_comes_while_a_batch_is_written_takes_one_write(
    log: LocalLog, judged: type[Counting]
) -> None:
    store = Held()
    async with working(log, store, Limits(100, 60)):
        await send(log, encoded(1))
        await until(store.entered.is_set)
        await send(log, encoded(2))
        await until(lambda: judged.judged == 2)
        await send(log, encoded(3))
        await send(log, encoded(4))
        store.free.set()
        assert await wait_committed(log)
    assert store.batches == [1, 3]
    assert store.positions == [1, 2, 3, 4]


async def test_a_batch_is_not_committed_before_its_predecessor(
    log: LocalLog, judged: type[Counting]
) -> None:
    store = Rows()
    store.failures = [StoreUnavailable("away")] * 1000
    await send(log, encoded(1), encoded(2))
    async with working(log, store, Limits(1, 60)):
        await until(lambda: judged.judged == 2)
        await until(lambda: len(store.failures) < 1000)
    store.failures = []
    assert not await log.wait_committed(EVENTS, PROCESSOR_GROUP, JULIET, 0)
    async with working(log, store):
        assert await wait_committed(log)
    assert store.positions == [1, 2]


@pytest.mark.parametrize(
    ("wishes", "kept"),
    [(["never"], [3]), (["always", "never"], []), (["never", "always"], [3])],
)
async def test_preferences_that_the_store_rejects_apply_to_no_message(
    log: LocalLog, judged: type[Counting], wishes: list[DefaultChoice], kept: list[int]
) -> None:
    """The first is refused, while the message is judged by all of them."""
    store = Held()
    store.refused = {1}
    said = [
        encode(Preferences(v=VERSION, owner=JULIET, position=n, default=wish, always=(), never=()))
        for n, wish in enumerate(wishes, 1)
    ]
    async with working(log, store, Limits(len(said), 0.01)):
        await send(log, *said)
        await until(store.entered.is_set)
        await send(log, encoded(3))
        await until(lambda: judged.judged == 1)
        store.free.set()
        assert await wait_committed(log)
    assert store.positions == kept
    assert [record.value for record in await dead_letters(log)] == said[:1]


async def test_a_rejected_statement_stops_the_worker_without_a_commit(log: LocalLog) -> None:
    store = Rows()
    store.failures = [StoreRefused("no such table")]
    await send(log, encoded(1))
    async with working(log, store) as task:
        await asyncio.wait({task}, timeout=SOON)
        assert isinstance(task.exception(), StoreRefused)
    assert not await log.wait_committed(EVENTS, PROCESSOR_GROUP, JULIET, 0)


async def test_an_invalid_record_becomes_a_dead_letter_and_the_rest_is_archived(
    log: LocalLog,
) -> None:
    store = Rows()
    async with working(log, store):
        await send(log, encoded(1), b"garbage", encoded(3))
        assert await wait_committed(log)
    assert store.positions == [1, 3]
    rejected = await log.consumer(REJECTED, "test")
    [record] = await rejected.read(10, SOON)
    assert record.value == b"garbage"
    assert dict(record.headers)["source"].startswith(EVENTS)


async def dead_letters(log: LocalLog) -> list[Record]:
    return [record async for record in log.scan(REJECTED)]


@pytest.mark.parametrize("refused", [{0}, {7}, {19}, {3, 4, 11}, set(range(20))])
async def test_only_rows_that_the_store_rejects_become_dead_letters(
    log: LocalLog, refused: set[int]
) -> None:
    store = Rows()
    store.refused = refused
    await send(log, *(encoded(n) for n in range(20)))
    async with working(log, store):
        assert await wait_committed(log)
    assert store.positions == sorted(set(range(20)) - refused)
    kept = await dead_letters(log)
    assert [record.value for record in kept] == [encoded(n) for n in sorted(refused)]
    assert {dict(record.headers)["reason"] for record in kept} == {"it does not fit"}
    assert len({dict(record.headers)["source"] for record in kept}) == len(refused)


async def test_nothing_is_lost_when_the_store_goes_away_during_a_bisection(log: LocalLog) -> None:
    store = Rows()
    store.refused = {13}
    store.failures = [RowRefused("it does not fit")] * 3 + [StoreUnavailable("away")] * 1000
    await send(log, *(encoded(n) for n in range(20)))
    async with working(log, store):
        await until(lambda: len(store.failures) < 1000)
    assert not await log.wait_committed(EVENTS, PROCESSOR_GROUP, JULIET, 0)
    store.failures = []
    async with working(log, store):
        assert await wait_committed(log)
    assert sorted(set(store.positions)) == sorted(set(range(20)) - {13})
    assert [record.value for record in await dead_letters(log)] == [encoded(13)]


async def test_a_dead_letter_is_appended_once_while_the_store_is_away(log: LocalLog) -> None:
    store = Rows()
    store.failures = [StoreUnavailable("away")] * 3
    await send(log, encoded(1), b"garbage")
    async with working(log, store):
        assert await wait_committed(log)
    assert [record.value for record in await dead_letters(log)] == [b"garbage"]


async def test_too_many_consecutive_dead_letters_stop_the_worker_without_loss(
    log: LocalLog,
) -> None:
    store = Rows()
    await send(log, encoded(1), *(b"garbage %d" % n for n in range(7)), encoded(2))
    for kept in (3, 6):
        async with working(log, store, Limits(100, 0.01, rejected=3)) as task:
            await asyncio.wait({task}, timeout=SOON)
            assert isinstance(task.exception(), TooManyRejected)
            assert "stanzalake rejected list" in str(task.exception())
        assert len(await dead_letters(log)) == kept
        assert store.positions == [1]
    async with working(log, store, Limits(100, 0.01, rejected=3)):
        assert await wait_committed(log)
    assert [record.value for record in await dead_letters(log)] == [
        b"garbage %d" % n for n in range(7)
    ]
    assert store.positions == [1, 2]


@pytest.mark.parametrize("rows", [1, 4, 100])
async def test_a_store_that_rejects_every_row_trips_the_breaker(log: LocalLog, rows: int) -> None:
    store = Rows()
    store.refused = set(range(50))
    await send(log, *(encoded(n) for n in range(50)))
    async with working(log, store, Limits(rows, 0.01, rejected=10)) as task:
        await asyncio.wait({task}, timeout=SOON)
        assert isinstance(task.exception(), TooManyRejected)
    assert [record.value for record in await dead_letters(log)] == [encoded(n) for n in range(10)]


async def test_dead_letters_between_valid_events_do_not_trip_the_breaker(log: LocalLog) -> None:
    store = Rows()
    for n in range(20):
        await send(log, b"garbage", b"garbage", encoded(n))
    async with working(log, store, Limits(7, 0.01, rejected=3)):
        assert await wait_committed(log)
    assert store.positions == list(range(20))


async def test_content_that_is_no_stanza_does_not_trip_the_breaker(log: LocalLog) -> None:
    store = Rows()
    broken = [encoded(n, stanza="<message") for n in range(50)]
    await send(log, b"garbage", *broken, b"garbage", encoded(50), b"garbage", *broken, encoded(51))
    async with working(log, store, Limits(7, 0.01, rejected=3)):
        assert await wait_committed(log)
    assert store.positions == [50, 51]
    assert len(await dead_letters(log)) == 103


async def test_content_that_is_no_stanza_does_not_end_a_run_of_dead_letters(log: LocalLog) -> None:
    broken = [encoded(n, stanza="<message") for n in range(5)]
    await send(log, b"garbage", *broken, b"garbage", *broken, b"garbage", b"garbage")
    async with working(log, Rows(), Limits(4, 0.01, rejected=3)) as task:
        await asyncio.wait({task}, timeout=SOON)
        assert isinstance(task.exception(), TooManyRejected)
    assert len(await dead_letters(log)) == 13


async def test_a_limit_of_zero_disables_the_breaker(log: LocalLog) -> None:
    store = Rows()
    await send(log, *([b"garbage"] * 2000), encoded(1))
    async with working(log, store, Limits(100, 0.01, rejected=0)):
        assert await wait_committed(log)
    assert store.positions == [1]

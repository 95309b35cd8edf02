"""Retries: repetition, logging and health."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import REGISTRY

from processor.retry import Retry, Stopped
from stanzalake.errors import RowRefused, StanzalakeError, StoreUnavailable

PART = "retried"
AWAY = StoreUnavailable("away")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.retry._FIRST_WAIT", 0.001)


def failing(*errors: StanzalakeError) -> Callable[[], Awaitable[str]]:
    left = list(errors)

    async def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


def up() -> bool:
    return REGISTRY.get_sample_value("stanzalake_up", {"part": PART}) == 1


async def test_a_failing_call_is_repeated_until_success() -> None:
    assert await Retry(__name__, PART, asyncio.Event()).until_done(failing(AWAY, AWAY)) == "done"
    assert up()


async def test_a_failure_and_its_end_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    await Retry(__name__, PART, asyncio.Event()).until_done(failing(AWAY, AWAY))
    assert [record.message for record in caplog.records] == ["waiting: away", "working again"]


async def test_a_permanent_error_is_raised_and_leaves_the_part_up() -> None:
    with pytest.raises(RowRefused):
        await Retry(__name__, PART, asyncio.Event()).until_done(failing(AWAY, RowRefused("no")))
    assert up()


async def test_the_part_is_down_while_any_call_fails() -> None:
    stop = asyncio.Event()
    retry = Retry(__name__, PART, stop)
    failed = asyncio.ensure_future(retry.until_done(failing(*[AWAY] * 10_000)))
    assert await retry.until_done(failing(AWAY))
    assert not up()
    stop.set()
    with pytest.raises(Stopped):
        await failed

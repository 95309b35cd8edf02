"""Patience: what is waited for, and what is said of it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import REGISTRY

from processor import retry
from processor.retry import Retry
from stanzalake.errors import RowRefused, StanzalakeError, StoreUnavailable

PART = "patience"
AWAY = StoreUnavailable("away")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.001)


def failing(*errors: StanzalakeError) -> Callable[[], Awaitable[str]]:
    left = list(errors)

    async def act() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return act


def up() -> bool:
    return REGISTRY.get_sample_value("stanzalake_up", {"part": PART}) == 1


async def test_it_is_done_again_until_it_works() -> None:
    assert await Retry(__name__, PART).until_done(failing(AWAY, AWAY), asyncio.Event()) == "done"
    assert up()


async def test_it_says_once_that_it_waits_and_once_that_it_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    await Retry(__name__, PART).until_done(failing(AWAY, AWAY), asyncio.Event())
    assert [record.message for record in caplog.records] == ["waiting: away", "working again"]


async def test_what_waiting_does_not_mend_is_no_reason_to_be_down() -> None:
    with pytest.raises(RowRefused):
        await Retry(__name__, PART).until_done(failing(AWAY, RowRefused("no")), asyncio.Event())
    assert up()


async def test_it_is_down_while_one_of_several_waits() -> None:
    stop, both = asyncio.Event(), Retry(__name__, PART)
    one = asyncio.ensure_future(both.until_done(failing(*[AWAY] * 10_000), stop))
    assert await both.until_done(failing(AWAY), asyncio.Event())
    assert not up()
    stop.set()
    assert not await one

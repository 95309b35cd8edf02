"""Clients of aiokafka that are shared, interrupted and stopped while brokers do not answer."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaClient, AIOKafkaConsumer

from stanzalake.errors import LogUnavailable
from stanzalake.log.base import EVENTS, Entry
from stanzalake.log.kafka import client as kafka
from stanzalake.log.kafka import commits
from stanzalake.log.kafka import log as kafka_log
from stanzalake.log.kafka.commits import CommitWatch
from stanzalake.log.kafka.log import KafkaLog
from stanzalake.log.kafka.shared import SharedClient
from stanzalake.log.kafka.topics import Topics
from stanzalake.log.watermarks import NO_WATERMARKS
from tests.support.events import JULIET
from tests.support.wait import until

SHORT = 0.05


class Frozen:
    """A client whose brokers take connections and answer nothing."""

    def __init__(self, **_: object) -> None:
        self.thawed = asyncio.Event()

    async def start(self) -> None:
        await self.thawed.wait()

    async def stop(self) -> None:
        """Nothing to stop."""


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "STOP_SECONDS", SHORT)
    monkeypatch.setattr(commits, "_ANSWER_SECONDS", SHORT)
    monkeypatch.setattr(kafka_log, "_APPEND_SECONDS", SHORT)
    monkeypatch.setattr(commits, "AIOKafkaConsumer", Frozen)
    monkeypatch.setattr(kafka_log, "AIOKafkaProducer", Frozen)


@pytest.fixture
async def watch() -> AsyncIterator[CommitWatch]:
    watch = CommitWatch({}, "events", "processors")
    yield watch
    await watch.close()


async def test_no_page_waits_for_frozen_brokers_beyond_its_time(watch: CommitWatch) -> None:
    async with asyncio.timeout(20 * SHORT):
        waits = [watch.wait(JULIET, 0.0, NO_WATERMARKS) for _ in range(50)]
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
    assert {str(outcome) for outcome in outcomes} == {"Kafka does not answer in time"}


async def test_no_batch_waits_for_frozen_brokers_beyond_its_time() -> None:
    log = KafkaLog({}, "")
    async with asyncio.timeout(20 * SHORT):
        appends = [log.append(EVENTS, [Entry(JULIET, b"x")]) for _ in range(50)]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert {str(outcome) for outcome in outcomes} == {"Kafka does not answer in time"}
    await log.close()


async def test_no_start_waits_for_frozen_brokers_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka, "START_SECONDS", SHORT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        async with asyncio.timeout(5):
            with pytest.raises(LogUnavailable, match="does not answer in time"):
                await Topics(1, 1, None).ensure({"bootstrap_servers": f"{host}:{port}"})


async def test_a_caller_that_gives_up_does_not_interrupt_the_start_for_others() -> None:
    client = Frozen()
    sharing = SharedClient(lambda: client)
    impatient, patient = (asyncio.create_task(sharing.get()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    client.thawed.set()
    assert await patient is client
    assert impatient.cancelled()
    await sharing.close()


async def test_a_start_that_failed_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    clients: list[Frozen] = []

    def make() -> Frozen:
        clients.append(Frozen())
        return clients[-1]

    sharing = SharedClient(make)
    monkeypatch.setattr(kafka, "START_SECONDS", SHORT)
    outcomes = await asyncio.gather(*(sharing.get() for _ in range(9)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TimeoutError] * 9
    assert len(clients) == 1
    second = asyncio.create_task(sharing.get())
    await until(lambda: len(clients) == 2)
    clients[1].thawed.set()
    assert await second is clients[1]
    assert [sharing.forget(client) for client in clients * 2] == [False, True, False, False]


class Stuck(AIOKafkaConsumer):
    """A consumer whose stop hangs, as it does while brokers are frozen."""

    stopping: asyncio.Event

    async def start(self) -> None:
        await asyncio.Event().wait()

    async def stop(self) -> None:
        self.stopping.set()
        await asyncio.Event().wait()


@pytest.fixture
async def stuck() -> AsyncIterator[Stuck]:
    client = Stuck(bootstrap_servers="127.0.0.1:1")  # type: ignore[no-untyped-call]  # aiokafka's
    client.stopping = asyncio.Event()
    yield client
    await AIOKafkaConsumer.stop(client)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[AIOKafkaClient]:
    """The connections that were closed."""
    closed: list[AIOKafkaClient] = []
    close: Any = AIOKafkaClient.close

    async def closing(self: AIOKafkaClient) -> None:
        closed.append(self)
        await close(self)

    monkeypatch.setattr(AIOKafkaClient, "close", closing)
    return closed


@pytest.mark.parametrize("step", [kafka.stop, kafka.start])
async def test_a_caller_that_is_cancelled_leaves_no_client_behind(
    stuck: Stuck, closed: list[AIOKafkaClient], step: Any
) -> None:
    """Such as a request whose client is gone, or whose time is over."""
    task = asyncio.create_task(step(stuck))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    await until(lambda: closed)
    assert closed == [kafka.connections(stuck)]


async def test_an_answer_that_aiokafka_cancels_is_an_error_of_the_log() -> None:
    answer = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(answer.cancel)
    with pytest.raises(LogUnavailable), kafka.translate_errors():
        await answer


async def test_a_caller_that_is_cancelled_is_cancelled() -> None:
    async def wait() -> None:
        with kafka.translate_errors():
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()

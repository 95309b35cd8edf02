"""The commands of the distributed deployment: what they refuse, how they start and end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from devstack.kafka import Kafka
from devstack.ports import free_port
from devstack.service import Service, environment
from tests.support.kafka_log import unique_prefix
from tests.support.settings import REQUIRED
from tests.support.wait import until

SOON = 30.0

Start = Callable[..., Service]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Give a function that gives a command with settings, to be launched."""
    services: list[Service] = []
    base = {
        **REQUIRED,
        "STANZALAKE_DATA_DIR": str(tmp_path / "data"),
        "STANZALAKE_PROSODY": f"127.0.0.1:{free_port()}",
        "STANZALAKE_KAFKA_REPLICATION": "1",
        "STANZALAKE_KAFKA_TOPIC_PREFIX": unique_prefix(),
    }

    def service(command: str, **more: str) -> Service:
        log = tmp_path / f"{command}-{len(services)}.log"
        one = Service(command=command, environment=environment({**base, **more}), log=log)
        services.append(one)
        return one

    yield service
    await asyncio.gather(*(one.kill() for one in services))


async def ended(service: Service) -> tuple[int, list[str]]:
    """Run a command to its end; give its status and what it said itself."""
    await service.launch()
    async with asyncio.timeout(SOON):
        status = await service.wait()
    text = service.log.read_text()
    assert "Traceback" not in text
    return status, [line for line in text.splitlines() if line.startswith("stanzalake: ")]


@pytest.mark.parametrize("command", ["ingest", "processor", "query"])
async def test_the_embedded_log_is_refused(start: Start, command: str) -> None:
    status, [line] = await ended(start(command))
    assert status == 2
    assert "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS is not set" in line


@pytest.mark.parametrize("command", ["processor", "query"])
@pytest.mark.parametrize("dsn", [None, "chdb://:memory:"])
async def test_the_embedded_store_is_refused(start: Start, command: str, dsn: str | None) -> None:
    more = {"STANZALAKE_CLICKHOUSE_DSN": dsn} if dsn else {}
    status, [line] = await ended(
        start(command, STANZALAKE_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", **more)
    )
    assert status == 2
    assert "STANZALAKE_CLICKHOUSE_DSN does not name a server" in line


@pytest.mark.parametrize("command", ["ingest", "up"])
async def test_without_brokers_a_service_exits_with_status_1(start: Start, command: str) -> None:
    brokers = f"127.0.0.1:{free_port()}"
    status, [line] = await ended(start(command, STANZALAKE_KAFKA_BOOTSTRAP_SERVERS=brokers))
    assert status == 1
    assert "Kafka does not answer" in line


async def test_more_replicas_than_brokers_exit_with_status_1(start: Start, kafka: Kafka) -> None:
    status, [line] = await ended(
        start(
            "ingest",
            STANZALAKE_KAFKA_BOOTSTRAP_SERVERS=kafka.address,
            STANZALAKE_KAFKA_REPLICATION="3",
        )
    )
    assert status == 1
    assert "STANZALAKE_KAFKA_REPLICATION=3" in line


@pytest.mark.parametrize("command", ["ingest", "up"])
async def test_a_service_waits_for_prosody_and_stops(
    start: Start, kafka: Kafka, command: str
) -> None:
    service = start(command, STANZALAKE_KAFKA_BOOTSTRAP_SERVERS=kafka.address)
    await service.launch()
    await until(lambda: "cannot be reached" in service.log.read_text(), SOON)
    async with asyncio.timeout(SOON):
        assert await service.stop() == 0
    assert "Traceback" not in service.log.read_text()

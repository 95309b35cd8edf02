"""Two Prosodys that serve one VirtualHost are noticed by ingest and by `stanzalake check`."""

import asyncio
from pathlib import Path

import pytest

from ingest.component import IngestComponent
from ingest.taps import Taps
from stanzalake.config import settings
from stanzalake.doctor import checks
from stanzalake.doctor.finding import Outcome
from stanzalake.log.base import EVENTS
from stanzalake.log.sqlite import LocalLog
from tests.support.clients import RawClient
from tests.support.server import HOST, INGEST, JULIET, KEY, Server, StartServer

SECRET = "one secret for both Prosodys"


@pytest.fixture
async def servers(start_server: StartServer) -> list[Server]:
    return [await start_server(component_secret=SECRET) for _ in range(2)]


async def test_batches_in_turns_are_logged_as_a_conflict(
    servers: list[Server], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, taps, stop = LocalLog(tmp_path / "log.sqlite"), Taps([HOST]), asyncio.Event()
    addresses = [("127.0.0.1", server.prosody.component_port) for server in servers]
    ingests = [IngestComponent(INGEST, SECRET, address, log, taps) for address in addresses]
    runs = [asyncio.ensure_future(ingest.run(stop)) for ingest in ingests]
    first, second = [await server.client("juliet") for server in servers]
    consumer = await log.consumer(EVENTS, "test")

    async def say(client: RawClient, body: str) -> None:
        client.say(JULIET, body, body)
        async with asyncio.timeout(10):
            while not any(body.encode() in r.value for r in await consumer.read(10, 1.0)):
                pass

    await say(first, "one")
    await say(second, "two")
    assert "two Prosodys" not in caplog.text
    await say(first, "three")
    instances = sorted((s.journal / "instance").read_text().strip() for s in servers)
    assert f"{HOST} (instances {' and '.join(instances)})" in caplog.text
    stop.set()
    await asyncio.gather(*runs)
    await log.close()


async def test_an_instance_outlasts_a_restart(servers: list[Server]) -> None:
    [server, _] = servers
    before = (server.journal / "instance").read_text()
    await server.crash()
    await server.client("juliet")
    assert (server.journal / "instance").read_text() == before


async def test_check_finds_that_several_prosodys_serve_a_host(
    servers: list[Server], tmp_path: Path
) -> None:
    ports = [server.prosody.component_port for server in servers]
    values = {
        "STANZALAKE_HOSTS": HOST,
        "STANZALAKE_COMPONENT_SECRET": SECRET,
        "STANZALAKE_ID_KEYS": KEY,
        "STANZALAKE_DATA_DIR": str(tmp_path / "data"),
        "PROSODY_ARCHIVE_POLICY": "true",
    }

    async def faults(*of: int) -> list[str]:
        prosody = ",".join(f"127.0.0.1:{port}" for port in of)
        given = settings.load({**values, "STANZALAKE_PROSODY": prosody})
        found = [finding async for finding in checks.run(given, "up")]
        return [one.text for one in found if one.outcome is Outcome.FAULT and HOST in one.subject]

    assert await faults(ports[0]) == []
    [text] = await faults(*ports)
    assert text.startswith("several Prosodys serve it (127.0.0.1:")

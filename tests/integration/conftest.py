"""Fixtures of the integration tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from devstack.clickhouse import ClickHouse
from tests.support.server import Server

StartServer = Callable[..., Awaitable[Server]]
Started = Callable[[ClickHouse], Awaitable[ClickHouse]]


@pytest.fixture
async def start_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Give a function that starts a Prosody with the tap; it takes what Server takes."""
    servers: list[Server] = []

    async def start(options: str = "", **prosody: object) -> Server:
        server = Server(tmp_path / f"prosody-{len(servers)}", options, **prosody)
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def server(start_server: StartServer) -> Server:
    """Give a Prosody with the tap as it is by default."""
    return await start_server()


@pytest.fixture
async def started() -> AsyncIterator[Started]:
    """Give a function that starts a server, which is stopped however the test ends."""
    servers: list[ClickHouse] = []

    async def start(server: ClickHouse) -> ClickHouse:
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.stop()

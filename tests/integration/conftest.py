"""Fixtures of the integration tests."""

import itertools
from pathlib import Path

import pytest

from tests.support.processes import Run
from tests.support.server import Server, StartServer


@pytest.fixture
def start_server(run: Run, tmp_path: Path) -> StartServer:
    """Give a function that starts a Prosody with the tap; it takes what Server takes."""
    numbers = itertools.count()

    async def start(options: str = "", **prosody: object) -> Server:
        return await run(Server(tmp_path / f"prosody-{next(numbers)}", options, **prosody))

    return start


@pytest.fixture
async def server(start_server: StartServer) -> Server:
    """Give a Prosody with the tap as it is by default."""
    return await start_server()

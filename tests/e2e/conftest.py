"""One deployment for the tests of a module: starting it is what takes time."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devstack.client import Client
from devstack.deployment import Deployment


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    deployment = Deployment(tmp_path)
    try:
        await deployment.start()
        yield deployment
    finally:
        await deployment.stop()


@pytest.fixture
async def friends(deployment: Deployment) -> AsyncIterator[tuple[Client, Client]]:
    """Two clients, online, in each other's roster."""
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    await juliet.add_contact(romeo.boundjid.bare)
    await romeo.add_contact(juliet.boundjid.bare)
    yield juliet, romeo
    await juliet.offline()
    await romeo.offline()

"""Fixtures of the end-to-end tests."""

from pathlib import Path

import pytest

from devstack.client import Client
from devstack.deployment import Deployment
from tests.support.processes import Run


@pytest.fixture
async def deployment(run: Run, tmp_path: Path) -> Deployment:
    return await run(Deployment(tmp_path))


@pytest.fixture
async def friends(deployment: Deployment) -> tuple[Client, Client]:
    """Two clients, online, in each other's roster."""
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    await juliet.add_contact(romeo.boundjid.bare)
    await romeo.add_contact(juliet.boundjid.bare)
    return juliet, romeo

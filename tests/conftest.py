"""Fixtures of all tiers, the order of the tests, and Hypothesis's profiles."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from devstack.debian import TRIXIE
from devstack.kafka import Kafka
from devstack.process import S, running
from devstack.prosody import Prosody
from stanzalake.observability.quiet import silence_libraries
from tests.support.kafka_log import PASSWORD, USER
from tests.support.processes import Run

# How long an example takes depends on what else the machine does.
settings.register_profile("test", deadline=None)
settings.register_profile(
    "fuzz", max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("test")

_TESTS = Path(__file__).parent
_TIERS = ("e2e", "faults", "integration", "contract", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tiers that take long, so that processes end together that share the tests."""
    items.sort(key=lambda item: _TIERS.index(item.path.relative_to(_TESTS).parts[0]))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that has every Prosody of a run be Debian 13's."""
    parser.addoption("--debian13", action="store_true", help="Run on the Prosody of Debian 13")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the Prosody that tests start if they name none, and silence libraries."""
    silence_libraries()
    # Hundreds of programs are started, each of which would compile all of its modules, as would
    # each of the processes that share the tests.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if config.getoption("--debian13"):
        Prosody.default_root = TRIXIE


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Give the broker that all tests share; each has a topic prefix of its own."""
    with asyncio.Runner() as runner:
        broker = Kafka(directory=tmp_path_factory.mktemp("kafka"), users={USER: PASSWORD})
        runner.run(broker.start())
        yield broker
        runner.run(broker.stop())


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """Return a function that starts a program; every program is stopped after the test."""
    async with AsyncExitStack() as stack:

        async def start(part: S) -> S:
            return await stack.enter_async_context(running(part))

        yield start

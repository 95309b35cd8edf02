"""What tests of several tiers share: one Kafka, started by the first that needs it."""

import asyncio
from collections.abc import Iterator

import pytest

from devstack.kafka import Kafka

USER, PASSWORD = "stanzalake", "wherefore"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Give the broker that all tests share; each has a topic prefix of its own."""
    with asyncio.Runner() as runner:
        broker = Kafka(directory=tmp_path_factory.mktemp("kafka"), users={USER: PASSWORD})
        runner.run(broker.start())
        yield broker
        runner.run(broker.stop())

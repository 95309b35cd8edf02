"""The parts of aiokafka that are not public, and that the log uses all the same."""

import pytest
from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer

from stanzalake.log.kafka.client import connections


@pytest.mark.parametrize("kind", [AIOKafkaConsumer, AIOKafkaProducer])
async def test_a_client_shows_its_connections(kind: type) -> None:
    client = kind(bootstrap_servers="127.0.0.1:1")
    assert isinstance(connections(client), AIOKafkaClient)
    await client.stop()

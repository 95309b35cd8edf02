"""Logs on a Kafka for tests."""

import uuid

from devstack.kafka import Kafka
from stanzalake.log.kafka.log import KafkaLog
from stanzalake.log.kafka.topics import Topics

PARTITIONS = 4
USER, PASSWORD = "stanzalake", "wherefore"
"""The account of the tests' broker."""


def unique_prefix() -> str:
    """Give a prefix of topics and groups that no other test has."""
    return f"test-{uuid.uuid4().hex}."


async def open_kafka(kafka: Kafka, prefix: str, session: float = 6.0) -> KafkaLog:
    """Open a log whose topics have a prefix."""
    topics = Topics(PARTITIONS, replication=1, retention=None, prefix=prefix)
    return await KafkaLog.open({"bootstrap_servers": kafka.address}, topics, session)

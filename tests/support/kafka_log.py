"""Logs on a Kafka for tests."""

import uuid

from archive.kafka_log import KafkaLog
from archive.kafka_topics import Topics
from stanzalake.local.kafka import Kafka

PARTITIONS = 4


def unique_prefix() -> str:
    """Give a prefix of topics and groups that no other test has."""
    return f"test-{uuid.uuid4().hex}."


async def open_kafka(kafka: Kafka, prefix: str, session: float = 6.0) -> KafkaLog:
    """Open a log whose topics have a prefix."""
    topics = Topics(PARTITIONS, replication=1, retention=None, prefix=prefix)
    return await KafkaLog.open({"bootstrap_servers": kafka.address}, topics, session)

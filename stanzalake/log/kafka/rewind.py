"""Reading Kafka's topics again from their beginning, for a group that nobody is a member of."""

from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError

from stanzalake.errors import LogRefused
from stanzalake.log.kafka import client as kafka


async def rewind(client: Mapping[str, Any], topic: str, group: str) -> None:
    """Let a group begin at the oldest record that there is.

    Args:
        client: Arguments of aiokafka's clients.
        topic: The topic's full name.
        group: The group's full name.

    Raises:
        LogUnavailable: Kafka does not answer.
        LogRefused: The group has members, who decide where it is.
    """
    with kafka.translated():
        consumer = AIOKafkaConsumer(**client, group_id=group, enable_auto_commit=False)
        try:
            await kafka.start(consumer)
            # Asked about one partition, the client follows the topic from then on.
            await consumer.end_offsets([TopicPartition(topic, 0)])
            places = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic)]
            consumer.assign(places)
            await consumer.commit(await consumer.beginning_offsets(places))
        except CommitFailedError:
            raise LogRefused(f"somebody reads for {group}: stop the processors first") from None
        finally:
            await kafka.stop(consumer)

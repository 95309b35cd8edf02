"""Administration of Kafka: describes topics, rights and lag; resets a group's offsets."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaClient, AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import create_conn
from aiokafka.errors import (
    CommitFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.produce import ProduceRequest

from stanzalake.errors import LogRefused
from stanzalake.log.kafka import client as kafka

_UNKNOWN = 3
_FORBIDDEN = 29
_NOWHERE = 2**31 - 1
"""A partition of no topic: a produce request to it is authorized, and writes nothing."""

_LOOK_MS = 200
_PRODUCE_MS = 3000


class Access(NamedTuple):
    """The rights of this user on a topic.

    Attributes:
        readable: Whether there is the right Read.
        writable: Whether there is the right Write.
    """

    readable: bool
    writable: bool


class Topic(NamedTuple):
    """The state of a topic.

    Attributes:
        partitions: Number of partitions.
        replication: Number of replicas of the partition with the fewest.
        options: The configuration, as `kafka-configs.sh` shows it.
        access: The rights of this user.
    """

    partitions: int
    replication: int
    options: Mapping[str, str]
    access: Access


class KafkaState(NamedTuple):
    """The state of a cluster, as far as the archive needs it.

    Attributes:
        brokers: Number of brokers.
        topics: The requested topics that exist, by full name.
        lag: Number of records that the group has not committed, over all partitions.
        deleted: Number of records deleted before the group committed them, by partition.
    """

    brokers: int
    topics: Mapping[str, Topic]
    lag: int
    deleted: Mapping[int, int]


async def describe(
    client: Mapping[str, Any], names: Sequence[str], group: str, topic: str
) -> KafkaState:
    """Describe topics and a group's lag; creates, writes and commits nothing, joins no group.

    Args:
        client: Connection arguments of aiokafka's clients.
        names: Full names of the topics to describe.
        group: Full name of the group.
        topic: Full name of the topic that the group reads.

    Raises:
        LogUnavailable: Kafka does not answer.
        LogRefused: The log-in fails, or the user lacks Describe or DescribeConfigs.
    """
    with kafka.translate_errors():
        admin = AIOKafkaAdminClient(**client)
        reader = AIOKafkaConsumer(**client, group_id=None)
        try:
            await _log_in(client)
            await admin.start()
            await kafka.start(reader)
            cluster = await admin.describe_cluster()
            topics = {
                found["topic"]: await _topic(admin, reader, found)
                for found in await admin.describe_topics(list(names))
                if _exists(found)
            }
            count = topics[topic].partitions if topic in topics else 0
            lag = await _lag(client, group, [TopicPartition(topic, n) for n in range(count)])
            return KafkaState(len(cluster["brokers"]), topics, *lag)
        finally:
            await kafka.stop(reader)
            await admin.close()


async def access(client: Mapping[str, Any], name: str) -> Access | None:
    """Return the rights on a topic that a user need not be able to describe; raises as `describe`.

    Args:
        client: Connection arguments of aiokafka's clients.
        name: The topic's full name.

    Returns:
        No right if Kafka does not tell this user whether the topic exists; None if it does not.
    """
    with kafka.translate_errors():
        reader = AIOKafkaConsumer(**client, group_id=None)
        admin = AIOKafkaAdminClient(**client)
        try:
            await admin.start()
            await kafka.start(reader)
            [found] = await admin.describe_topics([name])
            if found["error_code"] == _FORBIDDEN:
                return Access(readable=False, writable=False)
            return await _access(reader, name) if _exists(found) else None
        finally:
            await kafka.stop(reader)
            await admin.close()


async def reset_to_earliest(client: Mapping[str, Any], topic: str, group: str) -> None:
    """Reset an inactive consumer group to the earliest offset of every partition.

    Args:
        client: Connection arguments of aiokafka's clients.
        topic: The topic's full name.
        group: The group's full name.

    Raises:
        LogUnavailable: Kafka does not answer.
        LogRefused: The group has members.
    """
    with kafka.translate_errors():
        consumer = AIOKafkaConsumer(**client, group_id=group, enable_auto_commit=False)
        try:
            await kafka.start(consumer)
            # A request about one partition makes the client fetch the topic's metadata.
            await consumer.end_offsets([TopicPartition(topic, 0)])
            partitions = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic)]
            consumer.assign(partitions)
            await consumer.commit(await consumer.beginning_offsets(partitions))
        except CommitFailedError:
            raise LogRefused(f"{group} has members: stop the processors first") from None
        finally:
            await kafka.stop(consumer)


async def _log_in(client: Mapping[str, Any]) -> None:
    """Connect to a broker directly: the start of a client hides why a log-in failed."""
    options = {name: value for name, value in client.items() if name != "bootstrap_servers"}
    failure: Exception = TimeoutError()
    for address in client["bootstrap_servers"]:
        host, _, port = address.rpartition(":")
        try:
            connection = await create_conn(host.strip("[]"), int(port), **options)
        except (KafkaError, OSError) as error:
            failure = error
        else:
            connection.close()
            return
    raise failure


def _exists(topic: Mapping[str, Any]) -> bool:
    if topic["error_code"] not in {0, _UNKNOWN}:
        raise for_code(topic["error_code"])(topic["topic"])
    return not topic["error_code"]


async def _topic(
    admin: AIOKafkaAdminClient, reader: AIOKafkaConsumer, topic: Mapping[str, Any]
) -> Topic:
    name = topic["topic"]
    return Topic(
        partitions=len(topic["partitions"]),
        replication=min(len(partition["replicas"]) for partition in topic["partitions"]),
        options=await _options(admin, name),
        access=await _access(reader, name),
    )


async def _access(reader: AIOKafkaConsumer, name: str) -> Access:
    return Access(
        readable=await _readable(reader, name),
        writable=await _writable(kafka.connections(reader), name),
    )


async def _options(admin: AIOKafkaAdminClient, name: str) -> dict[str, str]:
    answers: list[Any] = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name)]
    )
    [(code, reason, _, _, entries)] = answers[0].resources
    if code:
        raise for_code(code)(reason)
    return {entry[0]: entry[1] for entry in entries}


async def _readable(reader: AIOKafkaConsumer, name: str) -> bool:
    partition = TopicPartition(name, 0)
    reader.assign([partition])
    try:
        await reader.seek_to_end(partition)
        await reader.getmany(partition, timeout_ms=_LOOK_MS)
    except TopicAuthorizationFailedError:
        return False
    return True


async def _writable(connections: AIOKafkaClient, name: str) -> bool:
    """Produce nothing to a partition that does not exist: rights are checked first."""
    request = ProduceRequest(
        transactional_id=None,
        required_acks=-1,
        timeout=_PRODUCE_MS,
        topics=[(name, [(_NOWHERE, b"")])],
    )
    answer: Any = await connections.send(connections.get_random_node(), request)
    [(_, [(_, code, *_)])] = answer.topics
    return int(code) != _FORBIDDEN


async def _lag(
    client: Mapping[str, Any], group: str, partitions: Sequence[TopicPartition]
) -> tuple[int, dict[int, int]]:
    """Return the number of records to read, and of those deleted unread, by partition."""
    # Without a subscription the client is no member of the group.
    lookup = AIOKafkaConsumer(**client, group_id=group, enable_auto_commit=False)
    try:
        await kafka.start(lookup)
        beginnings = await lookup.beginning_offsets(partitions)
        ends = await lookup.end_offsets(partitions)
        lag, deleted = 0, {}
        for partition in partitions:
            beginning, committed = beginnings[partition], await lookup.committed(partition)
            lag += ends[partition] - max(beginning, committed or 0)
            if committed is not None and committed < beginning:
                deleted[partition.partition] = beginning - committed
        return lag, deleted
    finally:
        await kafka.stop(lookup)

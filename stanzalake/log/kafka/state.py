"""What is so in Kafka: its topics, what this user may do with them, how far a group is.

Only asks: nothing is made, written or committed, and no group is joined.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.produce import ProduceRequest

from stanzalake.log.kafka import client as kafka

_UNKNOWN = 3
_FORBIDDEN = 29
_NOWHERE = 2**31 - 1
"""A partition that no topic has: what is written there is judged, and goes nowhere."""

_LOOK_MS = 200
_PRODUCE_MS = 3000


class Topic(NamedTuple):
    """One topic.

    Attributes:
        partitions: How many it has.
        replication: How many brokers hold each, at least.
        options: Its configuration, as `kafka-configs.sh` shows it.
        readable: Whether this user may read it.
        writable: Whether this user may write to it.
    """

    partitions: int
    replication: int
    options: Mapping[str, str]
    readable: bool
    writable: bool


class KafkaState(NamedTuple):
    """What Kafka says.

    Attributes:
        brokers: How many there are.
        topics: Those of the topics asked for that exist, by their names there.
        lag: Records that the group has not committed, all partitions of its topic together.
    """

    brokers: int
    topics: Mapping[str, Topic]
    lag: int


async def read(
    client: Mapping[str, Any], names: Sequence[str], group: str, followed: str
) -> KafkaState:
    """Ask Kafka.

    Args:
        client: Arguments of aiokafka's clients.
        names: The topics.
        group: The group whose lag is asked for.
        followed: The topic that it reads.

    Raises:
        LogUnavailable: Kafka does not answer.
        LogRefused: It does not let the user in, or not look.
    """
    with kafka.translated():
        admin = AIOKafkaAdminClient(**client)
        reader = AIOKafkaConsumer(**client, group_id=None)
        try:
            await _log_in(client)
            await admin.start()
            await kafka.start(reader)
            cluster = await admin.describe_cluster()
            topics = {
                topic["topic"]: await _topic(admin, reader, topic)
                for topic in await admin.describe_topics(list(names))
                if _exists(topic)
            }
            number = topics[followed].partitions if followed in topics else 0
            lag = await _lag(client, group, [TopicPartition(followed, n) for n in range(number)])
            return KafkaState(len(cluster["brokers"]), topics, lag)
        finally:
            await kafka.stop(reader)
            await admin.close()


async def _log_in(client: Mapping[str, Any]) -> None:
    """Connect to one of the brokers by hand: the start of a client does not say why it failed."""
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
        replication=min(len(one["replicas"]) for one in topic["partitions"]),
        options=await _options(admin, name),
        readable=await _readable(reader, name),
        writable=await _writable(admin, name),
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
    place = TopicPartition(name, 0)
    reader.assign([place])
    try:
        await reader.seek_to_end(place)
        await reader.getmany(place, timeout_ms=_LOOK_MS)
    except TopicAuthorizationFailedError:
        return False
    return True


async def _writable(admin: AIOKafkaAdminClient, name: str) -> bool:
    """Ask to write nothing into a partition that is not there: rights are looked at first."""
    request = ProduceRequest(
        transactional_id=None,
        required_acks=-1,
        timeout=_PRODUCE_MS,
        topics=[(name, [(_NOWHERE, b"")])],
    )
    answer: Any = await admin._send_request(request)  # noqa: SLF001  # it has no other way to ask
    [(_, [(_, code, *_)])] = answer.topics
    return int(code) != _FORBIDDEN


async def _lag(client: Mapping[str, Any], group: str, places: Sequence[TopicPartition]) -> int:
    # Without a subscription it asks about the group and is no member of it.
    lookup = AIOKafkaConsumer(**client, group_id=group, enable_auto_commit=False)
    try:
        await kafka.start(lookup)
        begins = await lookup.beginning_offsets(places)
        ends = await lookup.end_offsets(places)
        offsets = [await lookup.committed(place) or begins[place] for place in places]
        return int(sum(ends.values()) - sum(offsets))
    finally:
        await kafka.stop(lookup)

"""Checks Kafka: reachability, topics against the settings, rights, and the processors' lag."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

from stanzalake.config.settings import Settings
from stanzalake.doctor.finding import Finding, fault, fine, warning
from stanzalake.errors import LogRefused, LogUnavailable
from stanzalake.log.base import AWAITED, EVENTS, PROCESSOR_GROUP, REJECTED
from stanzalake.log.kafka import admin, connection
from stanzalake.log.kafka.admin import Access, KafkaState, Topic
from stanzalake.log.kafka.topics import MAX_REQUEST, Topics

SUBJECT = "Kafka"

_OF_AWAITED = (("Read", AWAITED), ("Write", AWAITED))
_RIGHTS: Mapping[str, Collection[tuple[str, str]]] = {
    "ingest": {("Write", EVENTS), ("Write", REJECTED)},
    "processor": {("Read", EVENTS), ("Write", REJECTED), *_OF_AWAITED},
    "query": {("Write", EVENTS), *_OF_AWAITED},
    "up": {("Write", EVENTS), ("Read", EVENTS), ("Write", REJECTED), *_OF_AWAITED},
}
"""The rights that each service needs on the topics, besides Describe."""

_GRANTS = (
    "set the STANZALAKE_KAFKA_* log-in right, and grant its user what docs/security.md says: "
    "Describe and DescribeConfigs on the topics of events and of dead letters at least"
)
_SLOWER = "pages wait longer for messages that just came"
_TOOL = "kafka-configs.sh --bootstrap-server ... --alter --entity-type topics --entity-name"


def checker(service: str) -> Callable[[Settings], Awaitable[Sequence[Finding]]]:
    """Return the check of brokers, topics and group for a service."""

    async def check(settings: Settings) -> Sequence[Finding]:
        wanted = connection.topics(settings)
        names = [wanted.prefix + topic for topic in (EVENTS, REJECTED)]
        group = wanted.prefix + PROCESSOR_GROUP
        try:
            client = connection.client_arguments(settings)
            state = await admin.describe(client, names, group, names[0])
            awaited = await admin.access(client, wanted.prefix + AWAITED)
        except LogUnavailable as error:
            remedy = (
                "start the brokers, or set STANZALAKE_KAFKA_BOOTSTRAP_SERVERS to where they are"
            )
            return [fault(SUBJECT, str(error), remedy)]
        except LogRefused as error:
            return [fault(SUBJECT, str(error), _GRANTS)]
        rights = _RIGHTS[service]
        return [
            *_judge(state, settings, wanted, rights),
            *_awaited(wanted.prefix + AWAITED, awaited, _needed(rights, AWAITED)),
        ]

    return check


def _judge(
    state: KafkaState, settings: Settings, wanted: Topics, rights: Collection[tuple[str, str]]
) -> Iterator[Finding]:
    yield fine(SUBJECT, f"answers, {state.brokers} brokers")
    if settings.kafka_replication > state.brokers:
        yield fault(
            SUBJECT,
            f"STANZALAKE_KAFKA_REPLICATION={settings.kafka_replication}, and there are only "
            f"{state.brokers} brokers",
            f"set STANZALAKE_KAFKA_REPLICATION={state.brokers}, or add brokers",
        )
    for topic in (EVENTS, REJECTED):
        subject = f"topic {wanted.prefix}{topic}"
        actual = state.topics.get(wanted.prefix + topic)
        if actual is None:
            yield _missing(subject)
        else:
            found = list(_topic(subject, topic, actual, wanted, _needed(rights, topic)))
            yield from found or [fine(subject, "is as the settings say")]
    yield from _progress(f"group {wanted.prefix}{PROCESSOR_GROUP}", state)


def _missing(subject: str) -> Finding:
    return warning(
        subject,
        "is not there yet",
        "the first service that starts makes it; if services run already, "
        "STANZALAKE_KAFKA_TOPIC_PREFIX or the brokers differ from theirs",
    )


def _topic(
    subject: str, topic: str, actual: Topic, wanted: Topics, needed: Sequence[str]
) -> Iterator[Finding]:
    name = wanted.prefix + topic
    for right in _lacking(actual.access, needed):
        yield fault(subject, f"the user lacks {right}", _grant(right, name))
    yield from _partitions(subject, name, actual, wanted)
    yield from _configured(subject, name, actual, wanted.retention_ms(topic))


def _progress(subject: str, state: KafkaState) -> Iterator[Finding]:
    for partition, count in state.deleted.items():
        yield fault(
            subject,
            f"Kafka deleted {count} records of partition {partition} that no processor had read",
            "raise STANZALAKE_LOG_RETENTION and the topic's retention.ms, or add processors; the "
            "fault ends with the next commit, see docs/operating.md, Lost records",
        )
    yield fine(subject, f"{state.lag} records to be archived")


def _needed(rights: Collection[tuple[str, str]], topic: str) -> Sequence[str]:
    return [right for right, right_topic in sorted(rights) if right_topic == topic]


def _lacking(access: Access, needed: Sequence[str]) -> Sequence[str]:
    granted = {"Read": access.readable, "Write": access.writable}
    return [right for right in needed if not granted[right]]


def _grant(right: str, name: str) -> str:
    return (
        f"grant it: kafka-acls.sh --bootstrap-server ... --add --operation {right} "
        f"--topic {name} --allow-principal User:..."
    )


def _awaited(name: str, access: Access | None, needed: Sequence[str]) -> Iterator[Finding]:
    """Judge the topic without which the archive works, more slowly; ingest does not use it."""
    subject = f"topic {name}"
    if not needed:
        return
    if access is None:
        yield warning(
            subject,
            f"is not there: {_SLOWER}",
            "the first service that starts makes it if its user may; else kafka-topics.sh "
            f"--bootstrap-server ... --create --topic {name} --partitions 1 "
            "--config retention.ms=60000",
        )
        return
    lacking = _lacking(access, needed)
    for right in lacking:
        yield warning(subject, f"the user lacks {right}: {_SLOWER}", _grant(right, name))
    if not lacking:
        yield fine(subject, "may be used")


def _partitions(subject: str, name: str, topic: Topic, wanted: Topics) -> Iterator[Finding]:
    text = f"has {topic.partitions} partitions, not STANZALAKE_KAFKA_PARTITIONS={wanted.partitions}"
    if topic.partitions < wanted.partitions:
        yield fault(
            subject,
            text,
            "stop the services, let the processors finish, then kafka-topics.sh "
            f"--bootstrap-server ... --alter --topic {name} --partitions {wanted.partitions}; "
            "or set the setting to what is there",
        )
    if topic.partitions > wanted.partitions:
        remedy = f"set STANZALAKE_KAFKA_PARTITIONS={topic.partitions}"
        yield warning(subject, text, remedy)
    if topic.replication < wanted.replication:
        yield fault(
            subject,
            f"has {topic.replication} replicas, not "
            f"STANZALAKE_KAFKA_REPLICATION={wanted.replication}",
            "kafka-reassign-partitions.sh adds replicas; or set the setting to what is there",
        )


def _configured(subject: str, name: str, topic: Topic, retention: int) -> Iterator[Finding]:
    wanted = {
        "cleanup.policy": ("delete", "compaction removes events of the same owner"),
        "retention.ms": (
            str(retention),
            "it decides how long an outage may last (see STANZALAKE_LOG_RETENTION)",
        ),
    }
    for option, (value, reason) in wanted.items():
        if topic.options[option] != value:
            yield fault(
                subject,
                f"has {option}={topic.options[option]}, not {value}: {reason}",
                f"{_TOOL} {name} --add-config {option}={value}",
            )
    if int(topic.options["max.message.bytes"]) < MAX_REQUEST:
        yield fault(
            subject,
            f"has max.message.bytes={topic.options['max.message.bytes']}: large events do not fit",
            f"{_TOOL} {name} --add-config max.message.bytes={MAX_REQUEST}",
        )

"""The topics in Kafka: created if missing, compared with the settings, never altered."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from stanzalake.errors import LogRefused, StanzalakeError
from stanzalake.log.base import AWAITED, EVENTS, READ_BYTES, REJECTED
from stanzalake.log.kafka import client as kafka
from stanzalake.model.event import MAX_EVENT

_EXISTS = 36
_UNKNOWN = 3
_FRAME = 64 * 1024
"""Bytes for key, headers and framing beside a record's value."""

MAX_REQUEST = READ_BYTES + _FRAME
"""Bytes of a produced batch: a dead letter may be larger than any event."""

_FOREVER = -1
_SEGMENTS = 4
_MIN_SEGMENT = 60_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics' configuration as set.

    Attributes:
        partitions: Number of partitions per topic.
        replication: Number of replicas per partition.
        retention: Seconds for which events are kept; None keeps them for ever. Dead letters
            are always kept.
        prefix: Prefix of topic and group names.
    """

    partitions: int
    replication: int
    retention: int | None
    prefix: str = ""

    async def ensure(self, client: Mapping[str, Any]) -> None:
        """Create the missing topics and check the existing ones.

        Args:
            client: Connection arguments of aiokafka's clients.

        Raises:
            LogUnavailable: Kafka does not answer.
            LogRefused: A topic cannot be created, or is too small for an event.
        """
        with kafka.translate_errors():
            admin = AIOKafkaAdminClient(**client)
            try:
                async with asyncio.timeout(kafka.START_SECONDS):
                    await admin.start()
                existing = await self._existing(admin)
                for topic in (EVENTS, REJECTED):
                    if topic in existing:
                        await self._check(admin, topic, existing[topic])
                    else:
                        await self._create(admin, topic, self.partitions)
                await self._ensure_awaited(admin)
            finally:
                await admin.close()

    async def _ensure_awaited(self, admin: AIOKafkaAdminClient) -> None:
        """Create the topic of awaited offsets; pages wait longer where that is not allowed."""
        try:
            with kafka.translate_errors():
                [answer] = await admin.describe_topics([self.prefix + AWAITED])
                if answer["error_code"] == _UNKNOWN:
                    await self._create(admin, AWAITED, 1)
        except StanzalakeError as error:
            log.warning("pages wait longer for messages that just came: %s", error)

    async def _existing(self, admin: AIOKafkaAdminClient) -> dict[str, int]:
        names = {self.prefix + topic: topic for topic in (EVENTS, REJECTED)}
        answers = await admin.describe_topics(list(names))
        for answer in answers:
            if answer["error_code"] not in {0, _UNKNOWN}:
                raise for_code(answer["error_code"])(answer["topic"])
        return {names[a["topic"]]: len(a["partitions"]) for a in answers if a["partitions"]}

    async def _create(self, admin: AIOKafkaAdminClient, topic: str, partitions: int) -> None:
        name = self.prefix + topic
        options = dict(self._options(topic))
        new = NewTopic(name, partitions, self.replication, topic_configs=options)
        answer: Any = await admin.create_topics([new])
        [(_, code, reason)] = answer.topic_errors
        if code not in {0, _EXISTS}:
            error = f"{for_code(code).__name__}: {reason}"
            raise LogRefused(
                f"Kafka does not create {name} with STANZALAKE_KAFKA_PARTITIONS={partitions} "
                f"and STANZALAKE_KAFKA_REPLICATION={self.replication} ({error})"
            )
        log.info("created the topic %s with %d partitions", name, partitions)

    def _options(self, topic: str) -> Iterator[tuple[str, str]]:
        retention = self.retention_ms(topic)
        yield "retention.ms", str(retention)
        if retention != _FOREVER:
            # Kafka deletes whole segments, so their age delays a deletion.
            yield "segment.ms", str(max(retention // _SEGMENTS, _MIN_SEGMENT))
        yield "max.message.bytes", str(MAX_REQUEST)
        yield "min.insync.replicas", str(max(1, self.replication - 1))

    def retention_ms(self, topic: str) -> int:
        """Return the `retention.ms` of a topic."""
        if topic == AWAITED:
            return _MIN_SEGMENT
        if topic == REJECTED or self.retention is None:
            return _FOREVER
        return self.retention * 1000

    async def _check(self, admin: AIOKafkaAdminClient, topic: str, partitions: int) -> None:
        """Warn where a topic differs from the settings.

        Raises:
            LogRefused: The topic does not take the largest event.
        """
        name = self.prefix + topic
        options = await self._described(admin, name)
        if int(options["max.message.bytes"]) < MAX_EVENT + _FRAME:
            raise LogRefused(
                f"the topic {name} has max.message.bytes={options['max.message.bytes']}, which "
                f"the largest event does not fit: set it to {MAX_REQUEST}"
            )
        if partitions != self.partitions:
            log.warning(
                "the topic %s has %d partitions, not STANZALAKE_KAFKA_PARTITIONS=%d",
                *(name, partitions, self.partitions),
            )
        if int(options["retention.ms"]) != self.retention_ms(topic):
            log.warning(
                "the topic %s has retention.ms=%s, while the settings say %d: "
                "kafka-configs.sh changes it",
                *(name, options["retention.ms"], self.retention_ms(topic)),
            )

    @staticmethod
    async def _described(admin: AIOKafkaAdminClient, name: str) -> dict[str, str]:
        wanted = {"retention.ms": None, "max.message.bytes": None}
        asked = ConfigResource(ConfigResourceType.TOPIC, name, wanted)
        answers: list[Any] = await admin.describe_configs([asked])
        [(code, reason, _, _, entries)] = answers[0].resources
        if code:
            raise for_code(code)(reason)
        return {entry[0]: entry[1] for entry in entries}

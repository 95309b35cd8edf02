"""Shared handling of aiokafka's clients: errors, start and stop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from aiokafka import AIOKafkaClient, AIOKafkaProducer
from aiokafka import errors as kafka

from stanzalake.errors import LogRefused, LogUnavailable

START_SECONDS = 15.0
STOP_SECONDS = 3.0

_REFUSALS = (
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
    kafka.ClusterAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.IllegalSaslStateError,
    kafka.InconsistentGroupProtocolError,
    kafka.IncompatibleBrokerVersion,
    kafka.InvalidConfigurationError,
    kafka.InvalidGroupIdError,
    kafka.InvalidPartitionsError,
    kafka.InvalidReplicationFactorError,
    kafka.InvalidSessionTimeoutError,
    kafka.InvalidTopicError,
    kafka.MessageSizeTooLargeError,
    kafka.PolicyViolationError,
    kafka.RecordListTooLargeError,
    kafka.RecordTooLargeError,
    kafka.SaslAuthenticationFailed,
    kafka.SecurityDisabled,
    kafka.TopicAuthorizationFailedError,
    kafka.UnsupportedCodecError,
    kafka.UnsupportedSaslMechanismError,
    kafka.UnsupportedVersionError,
)
"""Errors that persist until an operator changes rights, settings or a topic."""


class Client(Protocol):
    """A producer or a consumer of aiokafka."""

    async def start(self) -> None:
        """Connect."""

    async def stop(self) -> None:
        """Disconnect."""


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise this project's errors in place of Kafka's.

    Raises:
        LogUnavailable: A retry may help.
        LogRefused: An operator has to change something.
    """
    try:
        yield
    except _REFUSALS as error:
        raise LogRefused(f"Kafka refuses: {error}") from None
    except TimeoutError:
        raise LogUnavailable("Kafka does not answer in time") from None
    except (kafka.KafkaError, kafka.ConsumerStoppedError, OSError) as error:
        raise LogUnavailable(f"Kafka does not answer: {error}") from None


async def start(client: Client) -> None:
    """Start a client, or stop it on a failure or after START_SECONDS."""
    try:
        async with asyncio.timeout(START_SECONDS):
            await client.start()
    except BaseException:
        await stop(client)
        raise


async def stop(client: Client) -> None:
    """Stop a client within STOP_SECONDS, also while its brokers are away."""
    # In a task of its own: while brokers are away, aiokafka's stop may raise CancelledError.
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait({stopping}, timeout=STOP_SECONDS)
    if not stopping.done() or stopping.cancelled() or stopping.exception():
        stopping.cancel()
        await _disconnect(client)


async def _disconnect(client: Client) -> None:
    """Close the connections that a failed stop left open, which aiokafka would renew for ever."""
    with suppress(TimeoutError, kafka.KafkaError):
        async with asyncio.timeout(STOP_SECONDS):
            await connections(client).close()


def connections(client: Any) -> AIOKafkaClient:
    """Return the connections of a producer or a consumer of aiokafka.

    The only use of aiokafka's private attributes: a consumer does not show its connections.
    """
    inner = client.client if isinstance(client, AIOKafkaProducer) else client._client  # noqa: SLF001
    if not isinstance(inner, AIOKafkaClient):
        raise TypeError(f"{type(client).__name__} has no connections")
    return inner


def encode(text: str) -> bytes:
    """Encode a key or a header; the inverse of `decode`."""
    return text.encode(errors="surrogateescape")


def decode(raw: bytes | None) -> str:
    """Decode a key or a header so that `encode` returns the same bytes: others write, too."""
    return (raw or b"").decode(errors="surrogateescape")

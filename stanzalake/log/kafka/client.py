"""Shared handling of aiokafka's clients: errors, start and stop."""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from aiokafka import AIOKafkaClient, AIOKafkaProducer
from aiokafka import errors as kafka
from aiokafka.consumer.group_coordinator import GroupCoordinator

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

_endings: set["asyncio.Task[None]"] = set()
"""Clients that are being stopped: the event loop itself does not keep a task alive."""


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
    except asyncio.CancelledError:
        if _is_cancelled():
            raise
        # A future of aiokafka's was cancelled, because its client was stopped.
        raise LogUnavailable("the connection to Kafka is closed") from None
    except _REFUSALS as error:
        raise LogRefused(f"Kafka refuses: {error}") from None
    except TimeoutError:
        raise LogUnavailable("Kafka does not answer in time") from None
    except (kafka.KafkaError, kafka.ConsumerStoppedError, OSError) as error:
        raise LogUnavailable(f"Kafka does not answer: {error}") from None


def _is_cancelled() -> bool:
    """Return whether somebody has cancelled the current task."""
    task = asyncio.current_task()
    return task is None or bool(task.cancelling())


async def start(client: Client) -> None:
    """Start a client, or stop it on a failure, a cancellation or after START_SECONDS."""
    starting = asyncio.ensure_future(client.start())
    try:
        async with asyncio.timeout(START_SECONDS):
            await asyncio.shield(starting)
    except BaseException:
        await _outlast(_interrupt(starting, client))
        raise


async def stop(client: Client) -> None:
    """Stop a client within twice STOP_SECONDS, also while its brokers are away.

    A caller that is cancelled meanwhile leaves the rest to a task of its own.
    """
    await _outlast(_stop(client))


async def _outlast(ending: Coroutine[Any, Any, None]) -> None:
    """Wait for a coroutine that goes on if the caller is cancelled."""
    task = asyncio.create_task(ending)
    _endings.add(task)
    task.add_done_callback(_endings.discard)
    await asyncio.shield(task)


async def _interrupt(starting: "asyncio.Future[None]", client: Client) -> None:
    """Stop a client that is starting."""
    # A start that is interrupted leaves its first connection open, so it may end by itself.
    await asyncio.wait({starting}, timeout=STOP_SECONDS)
    starting.cancel()
    await _stop(client)


async def _stop(client: Client) -> None:
    # In a task of its own: while brokers are away, aiokafka's stop may raise CancelledError.
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait({stopping}, timeout=STOP_SECONDS)
    if not stopping.done() or stopping.cancelled() or stopping.exception():
        stopping.cancel()
        await _abandon(client)


async def _abandon(client: Client) -> None:
    """End what a failed stop left running: it would fetch and connect again for ever."""
    ends = asyncio.gather(*_ends(client), return_exceptions=True)
    with suppress(TimeoutError):
        await asyncio.wait_for(ends, STOP_SECONDS)
    await connections(client).close()


def _ends(client: Any) -> Iterator[Awaitable[None]]:
    """Iterate over the ends of the tasks that a producer or a consumer of aiokafka runs."""
    if isinstance(client, AIOKafkaProducer):
        if client._sender is not None:  # noqa: SLF001  # as below
            yield client._sender.close()  # noqa: SLF001
        yield _fail_unsent(client)
        return
    # A consumer that never started has neither.
    if isinstance(client._coordinator, GroupCoordinator):  # noqa: SLF001  # no public way to end
        yield client._coordinator._stop_heartbeat_task()  # noqa: SLF001
        yield client._coordinator._stop_commit_offsets_refresh_task()  # noqa: SLF001
    if client._fetcher is not None:  # noqa: SLF001
        yield client._fetcher.close()  # noqa: SLF001


async def _fail_unsent(producer: AIOKafkaProducer) -> None:
    producer._message_accumulator.fail_all(kafka.ProducerClosed())  # noqa: SLF001


def connections(client: Any) -> AIOKafkaClient:
    """Return the connections of a producer or a consumer of aiokafka, which has no public way."""
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

"""State of a process for people, collected from its parts and metrics."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version

import msgspec
from prometheus_client import Counter, Gauge

from stanzalake.errors import StanzalakeError
from stanzalake.observability import metrics

RATE_SECONDS = 60
"""Rates are averages over this time."""

_SAMPLE_SECONDS = 5
_CACHE_SECONDS = 30.0
"""Age up to which facts about the archive and Prosody are shown again, however often asked for."""


class Archive(msgspec.Struct, frozen=True):
    """Contents of the archive.

    Attributes:
        messages: Number of messages; expired and erased ones count until they are removed.
        oldest: Time of the oldest message, if there is one.
        newest: Time of the newest message, if there is one.
        bytes_on_disk: Compressed size.
    """

    messages: int
    oldest: datetime | None
    newest: datetime | None
    bytes_on_disk: int


class Journal(msgspec.Struct, frozen=True):
    """Journal of a VirtualHost's tap.

    Attributes:
        host: The VirtualHost.
        waiting: Unacknowledged bytes; None if the tap does not answer.
        limit: Maximum size, bytes.
    """

    host: str
    waiting: int | None
    limit: int


class Facts(msgspec.Struct, frozen=True):
    """Facts that take a query to the store or to Prosody.

    Attributes:
        archive: Contents of the archive; None without a store, or if the store does not answer.
        journals: The journals of all hosts.
        versions: Versions of other programs, by name.
    """

    archive: Archive | None = None
    journals: Sequence[Journal] = ()
    versions: Mapping[str, str] = {}


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """State of a process.

    Attributes:
        at: Time of the report.
        started: Start of the process.
        parts: Whether each component is connected, and the processor working.
        lag: Records of the log that are not archived yet.
        received: Events per second from taps.
        stored: Messages per second into the store.
        queries: Requests per second to archives.
        rejected: Dead letters since the start.
        cleaned: Last removal of expired and erased messages from the disk, if any.
        facts: Archive, journals and versions.
    """

    at: datetime
    started: datetime
    parts: Mapping[str, bool]
    lag: int
    received: float
    stored: float
    queries: float
    rejected: int
    cleaned: datetime | None
    facts: Facts

    @property
    def up(self) -> bool:
        """Whether there are parts, and all work."""
        return bool(self.parts) and all(self.parts.values())


Survey = Callable[[], Awaitable[Facts]]
"""Collects facts; may raise StanzalakeError."""


async def _no_facts() -> Facts:
    return Facts()


class Reporter:
    """Reports the status of this process.

    Args:
        parts: The state of each part, kept up to date by `health.report`.

    Attributes:
        survey: Collects facts about the archive and Prosody.
    """

    def __init__(self, parts: Mapping[str, bool]) -> None:
        self.survey: Survey = _no_facts
        self._parts = parts
        self._started = datetime.now(UTC)
        self._samples: deque[tuple[float, Sequence[float]]] = deque(
            maxlen=RATE_SECONDS // _SAMPLE_SECONDS + 1
        )
        self._facts, self._surveyed = Facts(), -_CACHE_SECONDS
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        """Sample the counters while the context is open."""
        task = asyncio.create_task(self._sample())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def report(self) -> Status:
        """Collect the current status."""
        received, stored, queries = self._rates()
        cleaned = _value(metrics.LAST_CLEANUP)
        return Status(
            at=datetime.now(UTC),
            started=self._started,
            parts=dict(self._parts),
            lag=int(_value(metrics.PARTITION_LAG)),
            received=received,
            stored=stored,
            queries=queries,
            rejected=int(_value(metrics.EVENTS_PROCESSED, outcome="rejected")),
            cleaned=datetime.fromtimestamp(cleaned, UTC) if cleaned else None,
            facts=await self._current_facts(),
        )

    async def _current_facts(self) -> Facts:
        async with self._lock:
            if time.monotonic() - self._surveyed >= _CACHE_SECONDS:
                with suppress(StanzalakeError):  # shown by the state of the parts
                    self._facts = await self.survey()
                self._surveyed = time.monotonic()
            own = {"stanzalake": version("stanzalake")}
            return msgspec.structs.replace(self._facts, versions={**own, **self._facts.versions})

    async def _sample(self) -> None:
        while True:
            self._samples.append((time.monotonic(), _counts()))
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _rates(self) -> Sequence[float]:
        now, counts = time.monotonic(), _counts()
        then, before = self._samples[0] if self._samples else (now, counts)
        seconds = max(now - then, 1.0)
        return [(count - old) / seconds for count, old in zip(counts, before, strict=True)]


def _counts() -> Sequence[float]:
    return (
        _value(metrics.EVENTS_TAKEN, outcome="taken"),
        _value(metrics.EVENTS_PROCESSED, outcome="stored"),
        _value(metrics.ARCHIVE_QUERIES),
    )


def _value(metric: Counter | Gauge, **labels: str) -> float:
    """Return the sum of a metric's samples that have the labels."""
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created") and labels.items() <= sample.labels.items()
    )

"""The rejected records, for an operator: which there are, one of them, and a second try."""

import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from stanzalake.config.settings import Settings
from stanzalake.errors import InvalidEvent, LogUnavailable, NotFound
from stanzalake.log import dead_letters, opening
from stanzalake.log.base import EVENTS, REJECTED, Entry, Log, Record
from stanzalake.model.event import Event, Message, decode, decode_from_host
from stanzalake.xmpp.stanza import strip

_CHUNK_BYTES = 1024 * 1024

RecordPlace = tuple[int, int]
"""Partition and offset of a record in the rejected topic."""


class Rejected(NamedTuple):
    """A rejected record without its bytes. The older one is the smaller.

    Attributes:
        at: When it was rejected, unix milliseconds.
        place: Where it is.
        source: Where it came from.
        reason: Why it was rejected.
        key: The owner's bare JID, or the host that sent it.
        size: Its bytes.
    """

    at: int
    place: RecordPlace
    source: str
    reason: str
    key: str
    size: int

    @classmethod
    def of(cls, record: Record) -> "Rejected":
        """Describe a record of the rejected topic."""
        return cls(
            at=record.at,
            place=(record.partition, record.offset),
            source=dead_letters.source(record),
            reason=dead_letters.reason(record),
            key=record.key,
            size=len(record.value),
        )


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a second try came to.

    Attributes:
        taken: Records that are events now.
        left: Records that still are none, each with the reason.
        events: Owner and position of each event; several records may hold the same one.
    """

    taken: list[RecordPlace] = field(default_factory=list)
    left: dict[RecordPlace, str] = field(default_factory=dict)
    events: set[tuple[str, int]] = field(default_factory=set)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Log]:
    """Open the log, also beside a `stanzalake up` that has it open.

    Raises:
        LogUnavailable: It cannot be opened; an embedded log is not made here.
    """
    file = opening.local_file(settings)
    if not settings.kafka_bootstrap_servers and not file.is_file():
        raise LogUnavailable(f"there is no log {file}: STANZALAKE_DATA_DIR says where it is")
    async with opening.open_log(settings) as log:
        yield log


async def newest(log: Log, limit: int, page: int = 1) -> list[Rejected]:
    """Give a page of the rejected records, oldest first; the first page holds the newest.

    Args:
        log: Where they are.
        limit: Records of a page.
        page: Which one, from 1 on.
    """
    kept: list[Rejected] = []
    async with aclosing(log.scan(REJECTED)) as records:
        async for record in records:
            heapq.heappush(kept, Rejected.of(record))
            if len(kept) > limit * page:
                heapq.heappop(kept)
    newer = limit * (page - 1)
    return sorted(kept)[: max(0, len(kept) - newer)]


async def find(log: Log, place: RecordPlace) -> Record:
    """Give one record of the rejected topic.

    Raises:
        NotFound: There is none at this place.
    """
    async with aclosing(log.scan(REJECTED)) as records:
        async for record in records:
            if (record.partition, record.offset) == place:
                return record
    raise NotFound(f"there is no rejected record {place[0]}/{place[1]}")


async def replay(log: Log, wanted: Callable[[Rejected], bool], *, dry_run: bool) -> Replayed:
    """Append the original bytes of rejected records to the events, if they are events now.

    They stay among the rejected. An event that is archived already is the same row again.

    Args:
        log: Where they are, and go.
        wanted: Chooses among them.
        dry_run: Whether nothing is appended.

    Raises:
        LogUnavailable: Some may have been appended; to replay them again is no harm.
    """
    result = Replayed()
    async with aclosing(_entries(log, wanted, result)) as entries:
        async for some in _chunks(entries):
            if not dry_run:
                await log.append(EVENTS, some)
    return result


async def _entries(
    log: Log, wanted: Callable[[Rejected], bool], result: Replayed
) -> AsyncGenerator[Entry, None]:
    """Give each wanted event once, and note in the result what becomes of every record."""
    async with aclosing(log.scan(REJECTED)) as records:
        async for record in records:
            described = Rejected.of(record)
            if not wanted(described):
                continue
            try:
                event = _event(record)
            except InvalidEvent as error:
                result.left[described.place] = str(error)
                continue
            result.taken.append(described.place)
            if (event.owner, event.position) not in result.events:
                result.events.add((event.owner, event.position))
                yield Entry(event.owner, record.value)


async def _chunks(entries: AsyncIterator[Entry]) -> AsyncIterator[list[Entry]]:
    chunk: list[Entry] = []
    size = 0
    async for entry in entries:
        chunk.append(entry)
        size += len(entry.value)
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    yield chunk


def _event(record: Record) -> Event:
    """Give the event of a rejected record.

    Raises:
        InvalidEvent: It is none, or not one that its source may write.
    """
    source = dead_letters.source(record)
    if source.startswith(dead_letters.TAP_SOURCE):
        event = decode_from_host(record.value, source.removeprefix(dead_letters.TAP_SOURCE))
    else:
        event = decode(record.value)
    if isinstance(event, Message):
        strip(event.stanza, frozenset())
    return event

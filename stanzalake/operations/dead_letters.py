"""Dead letters for operators: list, find and replay."""

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

RecordId = tuple[int, int]
"""Partition and offset of a record in the rejected topic."""


class DeadLetter(NamedTuple):
    """A dead letter without its bytes; ordered by time of rejection.

    Attributes:
        at: Time of rejection, unix milliseconds.
        id: Partition and offset in the rejected topic.
        source: The tap of a host, or partition and offset in the log.
        reason: Reason for the rejection.
        key: The owner's bare JID, or the host that sent the record.
        size: Bytes of the record.
    """

    at: int
    id: RecordId
    source: str
    reason: str
    key: str
    size: int

    @classmethod
    def of(cls, record: Record) -> "DeadLetter":
        """Describe a record of the rejected topic."""
        return cls(
            at=record.at,
            id=(record.partition, record.offset),
            source=dead_letters.source(record),
            reason=dead_letters.reason(record),
            key=record.key,
            size=len(record.value),
        )


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """Outcome of a replay.

    Attributes:
        replayed: Records that are valid events.
        invalid: Records that are not, each with the reason.
        events: Owner and position of each event; several records may hold the same event.
    """

    replayed: list[RecordId] = field(default_factory=list)
    invalid: dict[RecordId, str] = field(default_factory=dict)
    events: set[tuple[str, int]] = field(default_factory=set)


@asynccontextmanager
async def open_log(settings: Settings) -> AsyncIterator[Log]:
    """Open an existing log, even while `stanzalake up` has the log open.

    Raises:
        LogUnavailable: The log cannot be opened, or there is no embedded log yet.
    """
    file = opening.local_file(settings)
    if not settings.kafka_bootstrap_servers and not file.is_file():
        raise LogUnavailable(f"there is no log {file}: STANZALAKE_DATA_DIR says where it is")
    async with opening.open_log(settings) as log:
        yield log


async def newest(log: Log, limit: int, page: int = 1) -> list[DeadLetter]:
    """Return a page of dead letters, oldest first; the first page has the newest.

    Args:
        log: The log.
        limit: Page size.
        page: Page number, from 1.
    """
    kept: list[DeadLetter] = []
    async with aclosing(log.scan(REJECTED)) as records:
        async for record in records:
            heapq.heappush(kept, DeadLetter.of(record))
            if len(kept) > limit * page:
                heapq.heappop(kept)
    newer = limit * (page - 1)
    return sorted(kept)[: max(0, len(kept) - newer)]


async def find(log: Log, id_: RecordId) -> Record:
    """Return a record of the rejected topic.

    Raises:
        NotFound: No such record.
    """
    async with aclosing(log.scan(REJECTED)) as records:
        async for record in records:
            if (record.partition, record.offset) == id_:
                return record
    raise NotFound(f"there is no rejected record {id_[0]}/{id_[1]}")


async def replay(
    log: Log, selected: Callable[[DeadLetter], bool], *, dry_run: bool
) -> ReplayResult:
    """Append the original bytes of dead letters that are valid events to the events topic.

    The dead letters stay. Replaying an event that is archived already changes nothing.

    Args:
        log: The log.
        selected: Predicate that selects dead letters.
        dry_run: Append nothing.

    Raises:
        LogUnavailable: Some may have been appended; replaying again is safe.
    """
    result = ReplayResult()
    async with aclosing(_entries(log, selected, result)) as entries:
        async for chunk in _chunks(entries):
            if not dry_run:
                await log.append(EVENTS, chunk)
    return result


async def _entries(
    log: Log, selected: Callable[[DeadLetter], bool], result: ReplayResult
) -> AsyncGenerator[Entry, None]:
    """Yield each selected event once, and record the outcome for every record."""
    async with aclosing(log.scan(REJECTED)) as records:
        async for record in records:
            letter = DeadLetter.of(record)
            if not selected(letter):
                continue
            try:
                event = _decode(record)
            except InvalidEvent as error:
                result.invalid[letter.id] = str(error)
                continue
            result.replayed.append(letter.id)
            if (event.owner, event.position) not in result.events:
                result.events.add((event.owner, event.position))
                yield Entry(event.owner, record.value, dead_letters.REPLAYED)


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


def _decode(record: Record) -> Event:
    """Decode the event of a dead letter.

    Raises:
        InvalidEvent: Malformed, or an event that the source may not write.
    """
    source = dead_letters.source(record)
    if source.startswith(dead_letters.TAP_SOURCE):
        event = decode_from_host(record.value, source.removeprefix(dead_letters.TAP_SOURCE))
    else:
        event = decode(record.value)
    if isinstance(event, Message):
        strip(event.stanza, frozenset())
    return event

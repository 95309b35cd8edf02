"""The interface of the log: ordered per key, durable, at least once."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from stanzalake.log.watermarks import NO_WATERMARKS, Watermarks

EVENTS = "stanzalake.events"
REJECTED = "stanzalake.rejected"
AWAITED = "stanzalake.awaited"
"""Offsets of `EVENTS` whose commit somebody waits for; only in Kafka."""
PROCESSOR_GROUP = "stanzalake.processor"
READ_BYTES = 16 * 1024 * 1024
"""Bytes of values after which a read ends; bounds the reader's memory."""


class Entry(NamedTuple):
    """A key and value to append.

    Attributes:
        key: The owner's bare JID; entries with the same key keep their order.
        value: The event's bytes.
        headers: Names and values for operators and tools; empty for events.
    """

    key: str
    value: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Record(NamedTuple):
    """An entry read from a topic, with the offset to commit.

    Attributes:
        partition: The partition that holds the record.
        offset: The record's offset in that partition.
        key: The key as appended.
        value: The value as appended.
        headers: The headers as appended.
        at: Time of the append, unix milliseconds.
    """

    partition: int
    offset: int
    key: str
    value: bytes
    headers: tuple[tuple[str, str], ...] = ()
    at: int = 0


class Consumer(Protocol):
    """A group's reader of a topic, starting at the group's last commit."""

    async def read(self, limit: int, timeout: float) -> Sequence[Record]:
        """Return the next records, in order within each partition; empty on a timeout.

        Args:
            limit: Maximum number of records; a read ends earlier at READ_BYTES of values.
            timeout: Seconds to wait for the first record.

        Raises:
            LogUnavailable: The log cannot be read now.
        """

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Store the next offset to read of each partition (last + 1) durably.

        Raises:
            LogUnavailable: The log cannot store the commit now.
        """

    def partitions(self) -> Collection[int]:
        """Return the partitions that this consumer reads, also those without records."""

    def share(self) -> float:
        """Return the part of the topic's partitions that this consumer reads, above 0 and up to 1.

        It is 1 if unknown, and while nobody could be heard who waits for a commit.
        """

    def lag(self) -> Mapping[int, int]:
        """Return the number of records left to read, by partition, as far as known."""

    def awaited(self) -> Mapping[int, int]:
        """Return the offsets up to which somebody waits for a commit, by partition, if known.

        A read returns early, without records, when somebody begins to wait.
        """

    async def close(self) -> None:
        """Stop reading; the next consumer reads uncommitted records again."""


class Log(Protocol):
    """A durable log of topics."""

    async def append(self, topic: str, entries: Sequence[Entry]) -> Watermarks:
        """Append entries, in order within a key, and return once all are durable.

        Returns:
            The offset after the last entry, for each partition that received entries.

        Raises:
            LogUnavailable: The entries may or may not be in the log; append them again.
        """

    async def consumer(
        self, topic: str, group: str, on_rebalance: Callable[[], None] | None = None
    ) -> Consumer:
        """Open a consumer at the group's last commit, else at the oldest record.

        Args:
            topic: The topic to read.
            group: The group that shares the partitions among its consumers.
            on_rebalance: Called before a read returns records of newly assigned partitions; caches
                for their keys may be stale.
        """

    async def wait_committed(
        self, topic: str, group: str, key: str, timeout: float, up_to: Watermarks = NO_WATERMARKS
    ) -> bool:
        """Wait until the group has committed everything appended before this call.

        Only the partition of `key` is looked at. Returns at once if nothing is uncommitted.

        Args:
            topic: The topic that the group reads.
            group: The consumer group.
            key: The owner whose partition is looked at.
            timeout: Maximum seconds to wait.
            up_to: Lowers the offset to wait for, by partition.

        Returns:
            False on a timeout.
        """

    def scan(self, topic: str) -> AsyncGenerator[Record, None]:
        """Iterate over the records that a topic holds now, in order within each partition.

        Joins no group and commits nothing.

        Raises:
            LogUnavailable: The log cannot be read now.
        """

    def follow(self, topic: str) -> AsyncGenerator[Record, None]:
        """Iterate over the records that a topic holds now, then over those that are appended.

        Joins no group, commits nothing and does not end; raises as `scan` does.
        """

    async def close(self) -> None:
        """Close connections and files; appended records stay."""

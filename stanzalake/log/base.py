"""The log: ordered, durable, at least once. One interface, whatever stands behind it."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from stanzalake.log.watermarks import NO_WATERMARKS, Watermarks

EVENTS = "stanzalake.events"
REJECTED = "stanzalake.rejected"
PROCESSOR_GROUP = "stanzalake.processor"
READ_BYTES = 16 * 1024 * 1024
"""Bytes of values after which one read ends, so that a reader's memory is bounded."""


class Entry(NamedTuple):
    """What is appended.

    Attributes:
        key: The owner's bare JID: entries of one key keep their order.
        value: The event's bytes.
        headers: Names and values for people and tools; empty for events.
    """

    key: str
    value: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Record(NamedTuple):
    """What is read: an entry and its place, which travels with it until it is committed.

    Attributes:
        partition: The partition that it is in.
        offset: Its place there.
        key: As it was appended; so are value and headers.
        at: When it was appended, unix milliseconds.
    """

    partition: int
    offset: int
    key: str
    value: bytes
    headers: tuple[tuple[str, str], ...] = ()
    at: int = 0


class Consumer(Protocol):
    """Reads one topic for one group, from where the group last committed."""

    async def read(self, limit: int, timeout: float) -> Sequence[Record]:
        """Give the next records, each partition's in order; empty if none came.

        Args:
            limit: Number of records at most; fewer once their values pass READ_BYTES.
            timeout: Seconds to wait for the first one.

        Raises:
            LogUnavailable: The log cannot be read just now.
        """

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Remember, durably, the next offset to read of each partition (last + 1).

        Raises:
            LogUnavailable: The log cannot take it just now.
        """

    def lag(self) -> Mapping[int, int]:
        """Give, for each partition it reads, how many records are known to be left to read."""

    async def close(self) -> None:
        """Stop reading. What was read and not committed is read again by the next consumer."""


class Log(Protocol):
    """A durable log of topics."""

    async def append(self, topic: str, entries: Sequence[Entry]) -> Watermarks:
        """Return once all entries are durable, in their order within a key.

        Returns:
            Of each partition that got some of them, the offset behind the last one.

        Raises:
            LogUnavailable: They may or may not be there: append them again.
        """

    async def consumer(
        self, topic: str, group: str, on_rebalance: Callable[[], None] | None = None
    ) -> Consumer:
        """Open a consumer at the group's last commit, or at the first record there is.

        Args:
            topic: The topic to read.
            group: Whose commits count, and among whose consumers the partitions are shared.
            on_rebalance: Called before a read gives records of partitions that others may have read
                meanwhile: what is remembered of their keys may be out of date.
        """

    async def wait_committed(
        self, topic: str, group: str, key: str, timeout: float, up_to: Watermarks = NO_WATERMARKS
    ) -> bool:
        """Wait until the group has committed all that was appended before this call.

        Only the partition of `key` counts. Nothing is waited for if it is all committed.

        Args:
            topic: The topic that was appended to.
            group: The group whose commits count.
            key: The owner whose partition is asked about.
            timeout: Seconds to wait at most.
            up_to: Of a partition in it, only what is before this offset counts.

        Returns:
            False if the time ran out first.
        """

    def scan(self, topic: str) -> AsyncGenerator[Record, None]:
        """Give what a topic holds now, each partition's records in order, for no group.

        Nothing is committed, and who reads for a group does not notice.

        Raises:
            LogUnavailable: The log cannot be read just now.
        """

    async def close(self) -> None:
        """Close it; what was appended stays."""

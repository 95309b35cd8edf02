"""Metrics of the processor's loop."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from processor.batch import Batch
from stanzalake.model.position import to_milliseconds
from stanzalake.observability.metrics import (
    BATCH_ROWS,
    EVENTS_PROCESSED,
    FLUSH_SECONDS,
    OLDEST_UNARCHIVED,
    PARTITION_LAG,
    STAMP_TO_QUERYABLE,
)


def observe_insert(batch: Batch) -> None:
    """Record the size and the age of an insert."""
    if batch.rows:
        BATCH_ROWS.observe(len(batch.rows))
        STAMP_TO_QUERYABLE.observe(_age(min(row.position for row in batch.rows)))


def count_events(batch: Batch, records: int) -> None:
    """Count the events of a written batch by outcome.

    Args:
        batch: The batch.
        records: Number of its records, including filtered ones.
    """
    stored, rejected = len(batch.rows), len(batch.dead_letters)
    states = len(batch.states) + len(batch.tombstones) + len(batch.retentions)
    for outcome, number in (
        ("stored", stored),
        ("state", states),
        ("rejected", rejected),
        ("filtered", records - stored - states - rejected),
    ):
        EVENTS_PROCESSED.labels(outcome).inc(number)


def track_pending(gathered: Sequence[float]) -> None:
    """Export the age of the oldest pending batch.

    Args:
        gathered: Monotonic time at which each pending batch was complete, oldest first; mutable.
    """
    # Called from another thread: a slice is atomic, unlike a test and an index.
    OLDEST_UNARCHIVED.set_function(
        lambda: max((time.monotonic() - at for at in gathered[:1]), default=0)
    )


def set_lag(lag: Mapping[int, int]) -> None:
    """Export the lag of each partition in records."""
    PARTITION_LAG.clear()
    for partition, records in lag.items():
        PARTITION_LAG.labels(str(partition)).set(records)


@contextmanager
def time_flush(trigger: str) -> Iterator[None]:
    """Measure a flush, by the limit that ended its batch."""
    with FLUSH_SECONDS.labels(trigger).time():
        yield


def _age(position: int) -> float:
    return max(0.0, time.time() - to_milliseconds(position) / 1000)

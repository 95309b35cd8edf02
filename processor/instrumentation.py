"""The processor's meter: what the loop did, as metrics."""

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


def written(batch: Batch, records: int) -> None:
    """Count a batch that is written.

    Args:
        batch: What was written.
        records: How many records it came of.
    """
    stored, states, rejected = len(batch.rows), len(batch.states), len(batch.rejected)
    for outcome, number in (
        ("stored", stored),
        ("state", states),
        ("rejected", rejected),
        ("filtered", records - stored - states - rejected),
    ):
        EVENTS_PROCESSED.labels(outcome).inc(number)
    if batch.rows:
        BATCH_ROWS.observe(stored)
        STAMP_TO_QUERYABLE.observe(_age(min(row.position for row in batch.rows)))


def aging(gathered: Sequence[float]) -> None:
    """Show how old what is in hand is.

    Args:
        gathered: When each batch in hand was complete, unix seconds, the oldest first.
    """
    # Asked from another thread: a slice is taken in one step.
    OLDEST_UNARCHIVED.set_function(
        lambda: max((time.time() - at for at in gathered[:1]), default=0)
    )


def behind(lag: Mapping[int, int]) -> None:
    """Show how many records each partition is behind the end of the log."""
    PARTITION_LAG.clear()
    for partition, records in lag.items():
        PARTITION_LAG.labels(str(partition)).set(records)


@contextmanager
def flushing(trigger: str) -> Iterator[None]:
    """Measure a flush, by what ended its batch."""
    with FLUSH_SECONDS.labels(trigger).time():
        yield


def _age(position: int) -> float:
    return max(0.0, time.time() - to_milliseconds(position) / 1000)

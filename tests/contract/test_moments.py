"""A message is judged by the preferences right before it, however many and large the others are."""

import os
from collections.abc import Iterator, Sequence

import pytest

from bench import usage
from processor.batch import Batch, Rules, assemble, decode_records
from processor.policy import Policy
from processor.sink import Sink
from stanzalake.log.base import Record
from stanzalake.model.event import (
    MAX_JIDS,
    VERSION,
    Activation,
    Erasure,
    Event,
    Preferences,
    encode,
)
from stanzalake.model.history import MAX_BYTES, size
from stanzalake.store.client import Store
from stanzalake.store.histories import Histories
from tests.support.events import JULIET, message
from tests.support.stores import migrated_store

RULES = Rules(Policy("false", smart=True), frozenset())
JIDS = tuple(f"{n:04}{'x' * 250}@y" for n in range(MAX_JIDS))
"""A list of about 300 KB."""


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    with migrated_store(dsn) as store:
        yield store


def preferences(position: int) -> Preferences:
    """Keep everything at first, and then in turns."""
    always = position % 20 == 0
    return Preferences(
        v=VERSION,
        owner=JULIET,
        position=position,
        default="always" if always else "never",
        always=(),
        never=JIDS,
    )


STATES: Sequence[Preferences | Activation] = [
    Activation(v=VERSION, owner=JULIET, position=5),
    *map(preferences, range(20, 100, 10)),
]
MESSAGES = [message(position) for position in range(3, 110, 10)]
KEPT = [23, 43, 63, 83]


def processed(sink: Sink, events: Sequence[Event]) -> list[int]:
    """Process events as a batch, and return the positions of the archived messages."""
    ordered = sorted(events, key=lambda event: event.position)
    records = [Record(0, n, JULIET, encode(event)) for n, event in enumerate(ordered)]
    decoded = decode_records(records)
    batch: Batch = assemble(decoded, sink.histories(decoded), RULES, sink.earlier)
    sink.write_states(batch)
    sink.write_rows(batch)
    return [row.position for row in batch.rows]


def test_changes_within_a_batch_each_count_for_the_messages_behind_them(store: Store) -> None:
    assert sum(map(size, STATES)) > 4 * MAX_BYTES
    assert processed(Sink(store), [*STATES, *MESSAGES]) == KEPT


def test_a_replay_of_messages_alone_comes_to_the_same(store: Store) -> None:
    Histories(store).write(STATES)
    sink = Sink(store)
    assert processed(sink, MESSAGES) == KEPT
    assert [n for one in MESSAGES for n in processed(sink, [one])] == KEPT


def test_of_a_removed_account_no_earlier_preferences_count(store: Store) -> None:
    removal = Erasure(v=VERSION, owner=JULIET, position=50, end=50, account=True)
    Histories(store).write([*STATES, removal])
    assert processed(Sink(store), MESSAGES) == [63, 83]
    assert processed(Sink(store), [message(55)]) == []


def test_a_replay_reads_the_preferences_of_one_moment_at_a_time(store: Store) -> None:
    for start in range(0, 300, 10):
        Histories(store).write([preferences(10 * (start + n)) for n in range(10)])
    sink = Sink(store)
    processed(sink, [message(2995)])
    usage.forget_peak(os.getpid())
    before = usage.peak(os.getpid())
    kept = processed(sink, [message(10 * n + 3) for n in range(300)])
    assert kept == [10 * n + 3 for n in range(0, 300, 2)]
    assert usage.peak(os.getpid()) - before < 100

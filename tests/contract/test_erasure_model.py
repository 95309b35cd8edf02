"""Random logs, replays and kills: what is left in the store is what has to be, and nothing else."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processor.batch import Batch, Rules, assemble, decode_records
from processor.policy import Policy
from processor.sink import Sink
from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from stanzalake.log.base import Record
from stanzalake.model.event import (
    VERSION,
    Activation,
    DefaultChoice,
    Erasure,
    Event,
    Message,
    Preferences,
    encode,
)
from stanzalake.store import migrations
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.histories import Histories
from stanzalake.store.messages import MessageRange, Messages
from tests.support.events import ROMEO, message
from tests.support.settings import load
from tests.support.wait import until

NURSE = "nurse@capulet.lit"
RULES = Rules(Policy("true", smart=True), DEFAULT_EXCLUSIONS)
ALL, ENDED = (False, "", 0), (True, "", 0)
"""Erasures: of all messages, and of an account."""
_numbers = itertools.count()


class Run(NamedTuple):
    """A stretch of the log, processed.

    Attributes:
        worker: Which of two does it.
        back: How far before the commit it begins: what it reads is a repeat up to there.
        length: Events that it reads.
        end: How it ends: it is killed behind its states or its rows, or it is held up until after
            the next run, and given up meanwhile.
    """

    worker: int
    back: int
    length: int
    end: Literal["committed", "states", "rows", "late"]


kinds = st.sampled_from(["message"] * 8 + ["other"] * 4 + ["activation", "never", "always"])
erasures = st.tuples(st.booleans(), st.sampled_from(["", "", ROMEO]), st.integers(0, 9))
runs = st.builds(
    Run,
    st.integers(0, 1),
    st.integers(0, 12),
    st.integers(1, 6),
    st.sampled_from(["committed"] * 5 + ["states", "rows", "late"]),
)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    store = Store("chdb://:memory:", "erasure_model")
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    yield store
    store.close()


def event(kind: object, owner: str, position: int) -> Event:
    """Give an event of a log; a tuple stands for an erasure."""
    if isinstance(kind, tuple):
        account, peer, start = kind
        whole = {} if account else {"peer": peer, "start": start}
        return Erasure(
            v=VERSION, owner=owner, position=position, end=position, account=account, **whole
        )
    if kind in {"message", "other"}:
        return message(position, owner=owner, peer=NURSE if kind == "other" else ROMEO)
    if kind == "activation":
        return Activation(v=VERSION, owner=owner, position=position)
    default: DefaultChoice = "never" if kind == "never" else "always"
    return Preferences(
        v=VERSION, owner=owner, position=position, default=default, always=(), never=()
    )


def wanted(log: Sequence[Event]) -> set[int]:
    """Give the messages that have to be left."""
    return {one.position for one in log if isinstance(one, Message) and _is_wanted(one, log)}


def _is_wanted(one: Message, log: Sequence[Event]) -> bool:
    gone = [e for e in log if isinstance(e, Erasure)]
    ended = max((e.position for e in gone if e.account), default=0)
    said = [
        e
        for e in log
        if isinstance(e, Preferences | Activation) and ended <= e.position < one.position
    ]
    chosen = [e.default for e in said if isinstance(e, Preferences)]
    covering = [e for e in gone if e.start <= one.position < e.position]
    forgotten = any(e.peer in {"", one.peer} for e in covering)
    return bool(said) and chosen[-1:] != ["never"] and not forgotten


def work(store: Store, records: Sequence[Record], planned: Sequence[Run]) -> None:
    """Process a log run by run, and then what is left of it."""
    sinks = [Sink(store) for _ in range(2)]
    committed, last = 0, 0
    late: list[tuple[Sink, Batch]] = []
    for run in [*planned, Run(0, 0, len(records), "committed")]:
        if run.worker != last:
            sinks[run.worker].invalidate()
        last = run.worker
        start = max(0, committed - run.back)
        decoded = decode_records(records[start : start + run.length])
        sink = sinks[run.worker]
        batch = assemble(decoded, sink.histories(decoded), RULES, sink.earlier)
        held, late = late, []
        if run.end == "committed":
            write(sinks[run.worker], batch)
            committed = max(committed, *batch.offsets.values(), 0)
        elif run.end == "late":
            late = [(sinks[run.worker], batch)]
        else:
            Histories(store).write(batch.states)
            store.insert(batch.rows if run.end == "rows" else [])
            sinks[run.worker] = Sink(store)
        for writer, old in held:
            write(writer, old)


def write(sink: Sink, batch: Batch) -> None:
    """Carry out the steps of a checkpoint before its commit."""
    sink.write_states(batch)
    sink.write_rows(batch)


@pytest.mark.timeout(300)
@given(
    st.lists(kinds | erasures, min_size=2, max_size=8),
    st.lists(runs, min_size=4, max_size=12),
)
@example(["message", ALL], [Run(0, 0, 9, "committed"), Run(1, 9, 4, "committed")])
@example(["message", ALL], [Run(0, 0, 4, "late"), Run(1, 0, 9, "committed")])
@example(["never", "message", ENDED, "message", "activation", "message"], [])
@settings(max_examples=8)
def test_an_erasure_wins_and_no_other_message_is_lost(
    store: Store, kinds: Sequence[object], planned: Sequence[Run]
) -> None:
    # Mutations take time for every part, whoever's rows it holds.
    store.command(f"TRUNCATE TABLE {store.table}")
    number = next(_numbers)
    owner, other = f"juliet-{number}@capulet.lit", f"rosaline-{number}@capulet.lit"
    said = ["activation", *kinds]
    log = [event(kind, owner, position) for position, kind in enumerate(said, 1)]
    others = [event("activation", other, 0), *(message(p, owner=other) for p in range(1, 4))]
    both = [e for pair in itertools.zip_longest(others, log) for e in pair if e is not None]
    work(store, [Record(0, n, e.owner, encode(e)) for n, e in enumerate(both)], planned)
    for _ in range(2):
        assert visible(store, owner) == wanted(log)
        assert visible(store, other) == {1, 2, 3}
        asyncio.run(until(lambda: not Deletion(store).step(0)))
    assert on_disk(store, owner) == wanted(log)


def visible(store: Store, owner: str) -> set[int]:
    return {row.position for row in Messages(store).read(MessageRange(owner))}


def on_disk(store: Store, owner: str) -> set[int]:
    statement = f"SELECT position FROM {store.table} WHERE owner = {{owner:String}}"
    return {position for (position,) in store.select(statement, {"owner": owner})}

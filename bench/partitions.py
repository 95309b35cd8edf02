"""Partitions of the messages table: what pages, bytes, inserts and expiry cost by each.

The stores are filled in turn, by many inserts with merges running, and asked the same. The engine
is in this process: its CPU time is everything that the engine does.
"""

import asyncio
import random
import time
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from bench.corpus import DAY, Corpus
from bench.pages import archive, percentile, sample, settle
from bench.questions import PAGE, draw
from bench.report import Cell, Table, Target
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.model.page import Selection
from stanzalake.model.position import Sealer, from_milliseconds
from stanzalake.model.retention import Retention
from stanzalake.store import migrations
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion

SIZES = {"quick": 5_000, "usual": 1_000_000, "full": 10_000_000}

_CHOICES = ("month", "quarter", "year")
_INSERTS = 300
_ROUNDS = 25
_WARM_UP = 2
_POLL_SECONDS = 0.2
_EXPIRING_DAYS = 5


class Outcome(NamedTuple):
    """The figures of one choice; CPU in milliseconds, but for inserts in microseconds.

    Attributes:
        partition_by: The choice.
        parts: Number of parts, once nothing is left to merge.
        size: Bytes on disk of a message.
        insert: CPU of a message, merges included.
        page: Mean CPU of a page.
        usual: The median of its time.
        slow: The 99th percentile of its time.
        counts: Mean CPU of a count.
        rewritten: Share of the archive's bytes that a day's expiry rewrites.
        expiry: CPU of that.
    """

    partition_by: str
    parts: int
    size: float
    insert: float
    page: float
    usual: float
    slow: float
    counts: float
    rewritten: float
    expiry: float


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Fill a store for each choice, query it, and let a day expire."""
    corpus = Corpus(messages, seed)
    outcomes = []
    for choice in _CHOICES:
        path = directory / choice
        given = settings.load({**archive(path).settings, "STANZALAKE_PARTITION_BY": choice})
        outcomes.append(await _measure(given, corpus))
    by_month, *_, by_year = outcomes
    return Table(
        part="partitions",
        title=f"Partitions of the messages table: CPU of pages of {PAGE}, and the rest",
        load=f"{messages:,} messages of {len(corpus.owners):,} owners over a year in "
        f"{min(_INSERTS, messages // 1000)} inserts, merges running; a day expires; seed {seed}",
        columns=(
            "partition by",
            "parts",
            "bytes a message",
            "µs of CPU a message, inserts and merges",
            "ms of CPU a page",
            "ms a page, p50",
            "ms a page, p99",
            "ms of CPU a count",
            "share of the bytes that a day's expiry rewrites",
            "ms of CPU of that",
        ),
        rows=[list[Cell](outcome) for outcome in outcomes],
        drawn=("ms of CPU a page", "ms of CPU a count"),
        targets=[
            Target(
                "times the CPU of a page by months", by_year.page / by_month.page, 0.6, least=False
            ),
            Target("times the bytes by months", by_year.size / by_month.size, 1.05, least=False),
        ],
        memory={},
    )


async def _measure(given: Settings, corpus: Corpus) -> Outcome:
    store = Store.of(given)
    migrations.apply(store, given)
    start = time.process_time()
    for rows in corpus.chunks(max(1, corpus.messages // min(_INSERTS, corpus.messages // 1000))):
        store.insert(rows)
    await asyncio.to_thread(settle, store)
    insert = 1_000_000 * (time.process_time() - start) / corpus.messages
    [(parts, size)] = store.select(_parts(store))
    asked = await _ask(store, given, corpus)
    rewritten, expiry = await _expire(store, corpus)
    store.close()
    bytes_each = size / corpus.messages
    return Outcome(given.partition_by, parts, bytes_each, insert, *asked, rewritten / size, expiry)


def _parts(store: Store, condition: str = "true") -> str:
    return (
        "SELECT count(), sum(bytes_on_disk) FROM system.parts"  # noqa: S608  # our own
        f" WHERE active AND table = '{store.table}' AND {condition}"
    )


async def _ask(store: Store, given: Settings, corpus: Corpus) -> tuple[float, float, float, float]:
    """Ask for pages and counts; returns a page's CPU and times, and a count's CPU."""
    chance = random.Random(corpus.seed)  # noqa: S311  # a seed repeats the questions
    sealer, by = Sealer(given.id_key_list), given.partition_by
    reader = ArchiveReader(store, sealer, given.retention, partition_by=by)
    pages, counts, seconds = list[float](), list[float](), list[float]()
    for turn in range(_WARM_UP + _ROUNDS):
        for owner in sample(corpus, chance):
            moment = from_milliseconds(corpus.end - chance.randrange(corpus.span))
            own = reader.archive(owner.jid)
            for question in draw(owner, moment, chance):
                read = own.read(question.selection, PAGE, backward=question.backward)
                cpu, wall = await _timed(read)
                if turn >= _WARM_UP:
                    pages.append(cpu)
                    seconds.append(wall)
            cpu, _ = await _timed(own.count(Selection(), moment))
            counts.append(cpu)
    await reader.close()
    usual, slow = (percentile(seconds, share) for share in (0.5, 0.99))
    return 1000 * fmean(pages), usual, slow, 1000 * fmean(counts)


async def _timed(read: Any) -> tuple[float, float]:
    """Return the seconds of CPU and of time that something takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    await read
    return time.process_time() - cpu, time.perf_counter() - wall


async def _expire(store: Store, corpus: Corpus) -> tuple[int, float]:
    """Let half of the messages expire, then a day more; returns bytes and CPU of that day.

    What stays of the oldest partition is rewritten by each clean-up.
    """
    middle = corpus.end - corpus.span // 2
    begin, size = 0.0, 0
    for moment in (middle // 1000, (middle + DAY) // 1000):
        deletion = Deletion(store, retention=Retention(_EXPIRING_DAYS * DAY // 1000))
        deletion.confirm()
        now = moment + _EXPIRING_DAYS * DAY // 1000
        horizon = from_milliseconds(1000 * moment)
        partitions = store.select(
            f"SELECT DISTINCT _partition_id FROM {store.table} WHERE position < {horizon}"  # noqa: S608  # our own
        )
        ids = [partition for (partition,) in partitions]
        [(_, size)] = store.select(_parts(store, f"partition_id IN {ids!r}"))
        begin = time.process_time()
        while deletion.step(now):  # noqa: ASYNC110  # the store sets no asyncio.Event
            await asyncio.sleep(_POLL_SECONDS)
    return size, 1000 * (time.process_time() - begin)

"""Growth: whether writing and reading stay as fast while the archive grows 16-fold."""

import asyncio
import time
from itertools import islice
from pathlib import Path

from bench import pages
from bench.corpus import Corpus
from bench.pages import percentile
from bench.report import Cell, Table, Target
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.store.client import Store

SIZES = {"quick": 2_000, "usual": 125_000, "full": 1_000_000}
"""Of the smallest archive."""

_TIMES = (1, 4, 16)
_INSERTS = 8
_ROWS = 50_000
_ROUNDS = 20


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Measure archives of each size: the insert of new messages, and pages."""
    rows = [
        await _measure(Corpus(messages * times, seed), directory / str(times)) for times in _TIMES
    ]
    (_, write, p50, p99), *_, (_, last_write, last_p50, last_p99) = rows
    return Table(
        part="growth",
        title="An archive that grows",
        load=f"owners as in the pages' part, {_INSERTS} inserts of {min(messages, _ROWS):,} "
        f"messages into each archive; seed {seed}",
        columns=("archive", "rows/s inserted", "page p50 ms", "page p99 ms"),
        rows=rows,
        drawn=("page p50 ms", "page p99 ms"),
        targets=[
            Target("share of the write rate at 16 times", _ratio(last_write, write), 0.9),
            Target("times the p50 of a page at 16 times", _ratio(last_p50, p50), 1.2, least=False),
            Target("times the p99 of a page at 16 times", _ratio(last_p99, p99), 1.2, least=False),
        ],
    )


async def _measure(corpus: Corpus, directory: Path) -> list[Cell]:
    given = settings.load(pages.archive(directory).settings)
    await asyncio.to_thread(pages.fill, given, corpus)
    timings = await pages.asked(given, corpus, _ROUNDS)
    seconds = [timing.seconds for timing in timings if timing.question != "count"]
    rate = await asyncio.to_thread(_write, given, corpus)
    return [f"{corpus.messages:,}", rate, percentile(seconds, 0.5), percentile(seconds, 0.99)]


def _write(given: Settings, corpus: Corpus) -> float:
    """Return the rows per second of inserting a day's new messages."""
    store = Store.of(given)
    size = min(corpus.messages, _ROWS)
    news = Corpus(corpus.messages, corpus.seed + 1, span=86_400_000)
    chunks = list(islice(news.chunks(size), _INSERTS))
    start = time.perf_counter()
    for rows in chunks:
        store.insert(rows)
    seconds = time.perf_counter() - start
    store.close()
    return sum(map(len, chunks)) / seconds


def _ratio(last: Cell, first: Cell) -> float:
    return float(last) / float(first)

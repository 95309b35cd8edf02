"""A year in fast forward: parts, files, disk and pages while messages trickle, burst and expire.

Each day's messages come in an insert an hour; once a month the archive was away for three days,
and takes them at once. The cleaner removes expired messages once a week.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from bench import pages
from bench.corpus import DAY, Corpus
from bench.pages import percentile
from bench.questions import PAGE, draw
from bench.report import Cell, Table, Target
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.model.position import Sealer, from_milliseconds, to_milliseconds
from stanzalake.store import migrations
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Row, Store
from stanzalake.store.deletion import Deletion

SIZES = {"quick": 2_000, "usual": 300_000, "full": 3_000_000}

_KEPT_DAYS = 90
_CLEAN_DAYS = 7
_INSERTS = 24
_FEWEST = 10
"""Messages in an insert."""
_MONTH = 30
_OUTAGE = 3
_ROUNDS = 4
_STEP_SECONDS = 0.05
_DAY_SECONDS = DAY // 1000


class _Month(NamedTuple):
    """The archive at the end of a month; the unit of the pages is milliseconds."""

    days: int
    messages: int
    parts: int
    files: int
    mebibytes: float
    p50: float
    p99: float


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Let a year go by, and look at the archive once a month."""
    corpus = Corpus(messages, seed)
    own = {**pages.archive(directory).settings, "PROSODY_ARCHIVE_EXPIRES_AFTER": f"{_KEPT_DAYS}d"}
    months = [month async for month in _Year(settings.load(own), corpus).months()]
    settled, last = months[_KEPT_DAYS // _MONTH], months[-1]
    return Table(
        part="year",
        title=f"A year in fast forward, messages kept for {_KEPT_DAYS} days",
        load=f"{messages:,} messages of {len(corpus.owners):,} owners, {_INSERTS} inserts a day, "
        f"each month {_OUTAGE} days at once, a clean-up each week; pages of {PAGE}; seed {seed}",
        columns=("day", "messages", "parts", "files", "MiB on disk", "page p50 ms", "page p99 ms"),
        rows=[list[Cell](month) for month in months],
        drawn=("parts", "MiB on disk"),
        targets=[
            Target("times the parts of day 120 on the last", last.parts / settled.parts, 2, False),
            Target("times the bytes", last.mebibytes / settled.mebibytes, 1.5, False),
        ],
    )


class _Year:
    """A store over a year.

    Args:
        given: All settings.
        corpus: The year's messages.
    """

    def __init__(self, given: Settings, corpus: Corpus) -> None:
        self._given = given
        self._corpus = corpus
        self._begin = corpus.end - corpus.span
        self._store = Store.of(given)
        self._deletion = Deletion.of(self._store, given)
        self._now = 0.0
        self._reader = ArchiveReader(
            self._store, Sealer(given.id_key_list), given.retention, lambda: self._now
        )

    async def months(self) -> AsyncIterator[_Month]:
        """Yield the state of the archive at the end of each month."""
        migrations.apply(self._store, self._given)
        late: list[Row] = []
        for day, rows in self._days():
            self._now = self._begin / 1000 + (day + 1) * _DAY_SECONDS
            late += rows
            if day % _MONTH >= _MONTH - _OUTAGE:  # the archive is away
                continue
            await asyncio.to_thread(self._archive, late)
            late = []
            if day % _CLEAN_DAYS == 0:
                await asyncio.to_thread(self._clean)
            if day and day % _MONTH == 0:
                yield await self._look(day)
        await self._reader.close()
        self._store.close()

    def _days(self) -> Iterator[tuple[int, Sequence[Row]]]:
        by_day = groupby(
            self._corpus.rows(), lambda row: (to_milliseconds(row.position) - self._begin) // DAY
        )
        return ((day, list(rows)) for day, rows in by_day)

    def _archive(self, rows: Sequence[Row]) -> None:
        """Insert the rows of a day, or of an outage."""
        size = max(_FEWEST, len(rows) // _INSERTS)
        for start in range(0, len(rows), size):
            self._store.insert(rows[start : start + size])

    def _clean(self) -> None:
        while self._deletion.step(self._now):
            time.sleep(_STEP_SECONDS)

    async def _look(self, day: int) -> _Month:
        # Files of parts that were merged go eight minutes later, which is no time in this year.
        [(messages, parts, files, size)] = self._store.select(
            "SELECT sum(rows), count(), sum(files), sum(bytes_on_disk) FROM system.parts"
            " WHERE active AND table = {table:String}",
            {"table": self._store.table},
        )
        timings = await self._ask()
        return _Month(
            *(day, messages, parts, files, size / 2**20),
            *(percentile(timings, 0.5), percentile(timings, 0.99)),
        )

    async def _ask(self) -> Sequence[float]:
        """Ask owners of each size for pages, and return the seconds of each."""
        chance = random.Random(self._corpus.seed)  # noqa: S311  # a seed repeats the questions
        moment = from_milliseconds(
            int(1000 * (self._now - chance.randrange(_KEPT_DAYS) * _DAY_SECONDS))
        )
        timings: list[float] = []
        for owner in [o for _ in range(_ROUNDS) for o in pages.sample(self._corpus, chance)]:
            for question in draw(owner, moment, chance):
                archive = self._reader.archive(owner.jid)
                start = time.perf_counter()
                await archive.read(question.selection, PAGE, backward=question.backward)
                timings.append(time.perf_counter() - start)
        return timings

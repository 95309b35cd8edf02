"""The questions of docs/analytics.md about a year, at a tenth of the messages and at all."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from bench import pages
from bench.corpus import Corpus
from bench.report import Cell, Table, Target
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.store import migrations
from stanzalake.store.aggregates import Aggregates
from stanzalake.store.client import Store

SIZES = {"quick": 5_000, "usual": 1_000_000, "full": 10_000_000}

_GUIDE = Path(__file__).parents[1] / "docs" / "analytics.md"
_QUESTION = re.compile(
    r"^### (?P<name>[^\n]*)\n(?:(?!^#).)*?```sql\n(?P<sql>.*?)```", re.MULTILINE | re.DOTALL
)
_OWNER = 2_000
"""Messages of each owner."""
_CHUNK = 50_000
_ROUNDS = 3
_DAY = 86_400
_SETTLED = 61
"""Seconds after which a change is older than a computation, and a computation in effect."""
_FEWEST = 50_000
"""Messages of which days are computed: a quick run only shows that the statements work."""
_YEAR_OF = 100_000_000
"""Messages of the year that each question is to answer in under a second."""


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Ask all questions of computed days, and look at how they grow."""
    tenth, whole = [
        await asyncio.to_thread(_ask_all, Corpus(size, seed, owner_size=min(_OWNER, size)), place)
        for size, place in ((messages // 10, directory / "tenth"), (messages, directory / "whole"))
    ]
    rows: list[list[Cell]] = [
        [name, 1000 * tenth[name], 1000 * seconds, _grown(tenth[name], seconds, messages)]
        for name, seconds in whole.items()
    ]
    slowest = max(float(row[3]) for row in rows)
    return Table(
        part="analysts",
        title="The questions of the analysts' guide",
        load=f"a year of messages, {_OWNER:,} of each owner, all days computed but the last two; "
        f"medians of {_ROUNDS}; grown in a straight line from the two sizes; seed {seed}",
        columns=(
            "question",
            f"ms at {messages // 10:,}",
            f"ms at {messages:,}",
            f"s grown to {_YEAR_OF:,}",
        ),
        rows=rows,
        drawn=(f"ms at {messages:,}",),
        targets=[Target("s for the slowest at 100 million, grown", slowest, 1, least=False)],
    )


def _grown(tenth: float, whole: float, messages: int) -> float:
    """Return the seconds at 100 million, in a straight line through the two measurements."""
    slope = max(0.0, whole - tenth) / (messages - messages // 10)
    return whole + slope * (_YEAR_OF - messages)


def _ask_all(corpus: Corpus, directory: Path) -> Mapping[str, float]:
    given = settings.load(pages.archive(directory).settings)
    store = _fill(given, corpus)
    found = {name: _seconds(store, statement) for name, statement in _questions()}
    store.close()
    return found


def _fill(given: Settings, corpus: Corpus) -> Store:
    store = Store.of(given)
    migrations.apply(store, given)
    for rows in corpus.chunks(_CHUNK):
        store.insert(rows)
    store.command(f"OPTIMIZE TABLE {store.table} FINAL")
    if corpus.messages >= _FEWEST:
        _compute(store, given)
    return store


def _compute(store: Store, given: Settings) -> None:
    """Compute all days, as processors do once days are quiet; each takes effect a minute later."""
    aggregates = Aggregates(store, "", given.retention)
    time.sleep(_SETTLED)
    for day in aggregates.due(time.time() + _DAY):
        aggregates.compute(day)
    time.sleep(_SETTLED)


def _questions() -> Iterator[tuple[str, str]]:
    """Yield the statements that read no texts, by their headings."""
    for match in _QUESTION.finditer(_GUIDE.read_text()):
        if "messages_bodies" not in match["sql"]:
            yield match["name"], match["sql"]


def _seconds(store: Store, statement: str) -> float:
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        store.select(statement)
        seconds.append(time.perf_counter() - start)
    return median(seconds)

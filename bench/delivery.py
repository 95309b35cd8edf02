"""Delivery while others page: the hour after a restart, when every client asks for its archive.

Pairs talk at a steady rate, first alone, then while as many clients as there are owners page
through their archives as fast as they get answers: half of them from the oldest message on, half
from the newest, and anew at the end. Then all ask for pages at random places. One contender runs at
a time.
"""

import asyncio
import statistics
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from bench import load
from bench.contenders import MOD_MAM, OURS, Contender, contenders, open_sessions
from bench.corpus import Corpus, Owner
from bench.flood import questions
from bench.load import Result
from bench.pages import percentile
from bench.questions import PAGE, ask, walk
from bench.report import Cell, Table, Target
from devstack.raw import RawSession

SIZES = {"quick": 4_000, "usual": 500_000, "full": 5_000_000}

WALKS, PLACES = "page through", "at random places"
"""How clients read: page after page, or questions of every kind."""

_CLIENTS = 50
_PAIRS = 10
_RATE = 10.0
"""Messages of each pair in a second."""
_SECONDS = 20.0
"""Seconds of paging through; half of it of the rest."""
_QUICK_SECONDS = 2.0
_RUNS = 2


@dataclass
class Figures:
    """Figures of a run, or medians of several runs.

    Attributes:
        alone: Milliseconds of delivery, p50 and p99, while nobody pages.
        paging: The same while all page.
        rate: Pages in a second, of all clients together.
        page: Milliseconds of a page, p50 and p99.
    """

    alone: tuple[float, float]
    paging: tuple[float, float]
    rate: float
    page: tuple[float, float]

    def cells(self) -> list[Cell]:
        """Return the figures in the order of the table's columns."""
        return [*self.alone, *self.paging, self.rate, *self.page]


@dataclass
class Readers:
    """Clients that page without a pause.

    Attributes:
        sessions: A session for each owner.
        contender: Whose archive they read.
        corpus: The messages in the archive.
        seconds: Duration of each page.
    """

    sessions: dict[Owner, RawSession]
    contender: Contender
    corpus: Corpus
    seconds: list[float] = field(default_factory=list)

    def clients(self, manner: str) -> Sequence[Coroutine[None, None, None]]:
        """Return the clients, each of which pages in a manner until cancelled.

        Their first questions are drawn by then: that takes this process a while.
        """
        if manner == WALKS:
            sessions = enumerate(self.sessions.values())
            return [self._walk(session, backward=bool(n % 2)) for n, session in sessions]
        drawn = {o: questions(self.contender, self.corpus, o, PAGE) for o in self.sessions}
        asked = {owner: chain([next(markups)], markups) for owner, markups in drawn.items()}
        return [self._ask(session, asked[owner]) for owner, session in self.sessions.items()]

    async def _walk(self, session: RawSession, *, backward: bool) -> None:
        async for seconds in walk(session, backward=backward):
            self.seconds.append(seconds)

    async def _ask(self, session: RawSession, markups: Iterator[str]) -> None:
        for markup in markups:
            self.seconds.append(await ask(session, markup))


async def measure(
    messages: int, seed: int, directory: Path, tree: Path | None = None, name: str = ""
) -> Table:
    """Run all contenders in turn.

    Args:
        messages: In the archives of all who page, together.
        seed: Seed of the load.
        directory: Parent of the contenders' directories.
        tree: Another checkout that is a contender, too.
        name: Its name in tables.
    """
    quick = messages <= SIZES["quick"]
    clients = _CLIENTS if not quick else 4
    corpus = Corpus(messages, seed, owner_size=messages // clients)
    runs: dict[tuple[str, str], list[Figures]] = {}
    for number in range(1 if quick else _RUNS):
        for kind, contender in contenders(directory / str(number), tree, name).items():
            seconds = _QUICK_SECONDS if quick else _SECONDS
            for manner, figures in (await _run(contender, corpus, seconds)).items():
                runs.setdefault((kind, manner), []).append(figures)
    return _table({each: _median(figures) for each, figures in runs.items()}, corpus)


async def _run(contender: Contender, corpus: Corpus, seconds: float) -> dict[str, Figures]:
    """Measure a contender; return the figures of each manner of reading."""
    talkers = [f"talker{n}" for n in range(2 * _PAIRS)]
    readers = {owner: owner.jid.partition("@")[0] for owner in corpus.owners}
    try:
        await contender.start([*talkers, *readers.values()], corpus)
        sessions = await open_sessions(contender.prosody, talkers)
        talking = list(sessions.values())
        alone = await _talk(talking, seconds / 2, corpus.seed)
        found: dict[str, Figures] = {}
        for manner in (WALKS, PLACES):
            # Sessions of their own: one that was stopped may still get the rest of a page.
            opened = await open_sessions(contender.prosody, readers.values())
            reading = Readers({o: opened[user] for o, user in readers.items()}, contender, corpus)
            lasting = seconds if manner == WALKS else seconds / 2
            found[manner] = await _read(reading, manner, talking, lasting, alone)
            for session in opened.values():
                session.writer.transport.abort()
        return found
    finally:
        await contender.stop()


async def _read(
    reading: Readers, manner: str, talking: Sequence[RawSession], seconds: float, alone: Result
) -> Figures:
    task = asyncio.create_task(_gather(reading.clients(manner)))
    begun = time.perf_counter()
    paging = await _talk(talking, seconds, reading.corpus.seed)
    rate = len(reading.seconds) / (time.perf_counter() - begun)
    await _cancel(task)
    return Figures(
        _shares(alone.latencies), _shares(paging.latencies), rate, _shares(reading.seconds)
    )


async def _talk(sessions: Sequence[RawSession], seconds: float, seed: int) -> Result:
    texts = load.bodies(int(_PAIRS * _RATE * seconds), seed)
    senders, receivers = list(sessions[:_PAIRS]), list(sessions[_PAIRS:])
    return await load.run(senders, receivers, texts, window=load.UNBOUNDED, rate=_RATE)


async def _gather(clients: Sequence[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client)


async def _cancel(task: "asyncio.Task[None]") -> None:
    if task.done():
        task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _shares(seconds: Sequence[float]) -> tuple[float, float]:
    return percentile(seconds, 0.5), percentile(seconds, 0.99)


def _median(runs: Sequence[Figures]) -> Figures:
    alone, paging, rates, page = zip(
        *((r.alone, r.paging, r.rate, r.page) for r in runs), strict=True
    )
    return Figures(_medians(alone), _medians(paging), statistics.median(rates), _medians(page))


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    p50, p99 = zip(*pairs, strict=True)
    return statistics.median(p50), statistics.median(p99)


def _table(medians: dict[tuple[str, str], Figures], corpus: Corpus) -> Table:
    ours, theirs = medians[OURS, WALKS], medians[MOD_MAM, WALKS]
    slower = ours.paging[1] / theirs.paging[1]
    return Table(
        part="delivery",
        title=f"Delivery while {len(corpus.owners)} clients page without a pause",
        load=f"{_PAIRS} pairs with {_RATE:g} messages a second each; archives of "
        f"{corpus.owner_size:,} messages, pages of {PAGE}: clients page through theirs, half of "
        f"them forward from the oldest message and half backward from the newest, then ask for "
        f"pages at random places; medians of alternating runs, seed {corpus.seed}",
        columns=(
            *("archive", "alone p50 ms", "alone p99 ms", "delivery p50 ms", "delivery p99 ms"),
            *("pages/s", "page p50 ms", "page p99 ms"),
        ),
        rows=[[", ".join(each), *figures.cells()] for each, figures in medians.items()],
        drawn=("delivery p50 ms", "delivery p99 ms"),
        targets=[
            Target("times mod_mam's p99 of delivery while others page", slower, 0.2, least=False),
            Target("times mod_mam's pages/s meanwhile", ours.rate / theirs.rate, 2),
        ],
    )

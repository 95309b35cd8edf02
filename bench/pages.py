"""Pages of archives of all sizes, at the archive reader and of one query component.

The messages are spread over a year and over as many parts as merges leave of many inserts; while
pages are read, new messages arrive and parts are merged.
"""

import asyncio
import base64
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from bench import usage
from bench.corpus import HOST, Corpus, Owner
from bench.listener import Listener
from bench.questions import PAGE, Question, draw
from bench.report import Cell, Table, Target
from devstack.deployment import QUERY, Deployment
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.model.page import Selection
from stanzalake.model.position import Sealer, from_milliseconds
from stanzalake.store import migrations
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Store
from stanzalake.store.erasures import Erasures
from stanzalake.xmpp import frames
from stanzalake.xmpp.frames import Frame
from stanzalake.xmpp.namespaces import CLIENT
from stanzalake.xmpp.namespaces import QUERY as QUERY_NAMESPACE

SIZES = {"quick": 5_000, "usual": 1_000_000, "full": 10_000_000}

_INSERTS = 300
_POLL_SECONDS = 0.2
_CALM = 10
_ROUNDS = 40
_WARM_UP = 2
_WRITE_SECONDS = 0.5
_WRITE_ROWS = 100
_ASKED = 2_000
_WINDOW = 16


class Timing(NamedTuple):
    """Duration in seconds of a question to an archive of a size."""

    question: str
    size: int
    seconds: float


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Fill an archive, and query it."""
    corpus = Corpus(messages, seed)
    given = settings.load(archive(directory).settings)
    parts = await asyncio.to_thread(fill, given, corpus)
    async with _arriving(given, corpus):
        timings = await asked(given, corpus)
    rate, memory = await _serve(directory, corpus, min(_ASKED, messages // 10))
    pages = [timing.seconds for timing in timings if timing.question != "count"]
    return Table(
        part="pages",
        title=f"Pages of {PAGE} messages, at the archive reader",
        load=f"{messages:,} messages of {len(corpus.owners):,} owners with "
        f"{corpus.owners[0].size} to {corpus.owners[-1].size:,} each, in {parts} parts at the "
        f"start, as {_INSERTS} inserts and merges left them, while messages arrive, "
        f"after {_WARM_UP} rounds that do not count; seed {seed}",
        columns=("question", "p50 ms", "p95 ms", "p99 ms"),
        rows=list(_rows(timings)),
        drawn=("p50 ms", "p99 ms"),
        targets=[
            Target("ms for a page, p50", percentile(pages, 0.5), 5, least=False),
            Target("ms for a page, p99", percentile(pages, 0.99), 20, least=False),
            Target("pages/s of one query component", rate, 500),
        ],
        memory=memory,
    )


def archive(directory: Path, prosody: str = "127.0.0.1:1") -> Deployment:
    """Return a deployment whose Prosody is replaced by the listener."""
    own = {"PROSODY_ARCHIVE_EXPIRES_AFTER": "never", "STANZALAKE_PROSODY": prosody}
    return Deployment(directory, settings=own)


def fill(given: Settings, corpus: Corpus) -> int:
    """Write a corpus into the store in many inserts; return how many parts merges left."""
    store = Store.of(given)
    migrations.apply(store, given)
    for rows in corpus.chunks(max(1, corpus.messages // _INSERTS)):
        store.insert(rows)
    settle(store)
    number = store.select(
        "SELECT count() FROM system.parts WHERE active AND table = {table:String}",
        {"table": store.table},
    )[0][0]
    store.close()
    return int(number)


def settle(store: Store) -> None:
    """Wait until the engine has had nothing to merge for two seconds."""
    calm = 0
    while calm < _CALM:
        [(running,)] = store.select("SELECT count() FROM system.merges")
        calm = 0 if running else calm + 1
        time.sleep(_POLL_SECONDS)


async def asked(given: Settings, corpus: Corpus, rounds: int = _ROUNDS) -> Sequence[Timing]:
    """Ask questions of archives of each size, in turn, and time the answers.

    The first rounds do not count: the engine has only just been opened.
    """
    chance = random.Random(corpus.seed)  # noqa: S311  # a seed repeats the questions
    store = Store.of(given)
    # As a processor does: whose archive may have something hidden is kept in memory.
    Erasures(store).complete()
    reader = ArchiveReader(store, Sealer(given.id_key_list), given.retention)
    timings: list[Timing] = []
    for n in range(_WARM_UP + rounds):
        for owner in sample(corpus, chance):
            answers = await _ask(reader, owner, corpus, chance)
            if n >= _WARM_UP:
                timings += answers
    await reader.close()
    store.close()
    return timings


def sample(corpus: Corpus, chance: random.Random) -> Sequence[Owner]:
    """Choose an owner of each size."""
    sizes = sorted({owner.size for owner in corpus.owners})
    return [chance.choice([o for o in corpus.owners if o.size == size]) for size in sizes]


def percentile(values: Sequence[float], share: float) -> float:
    """Return a quantile of durations in seconds, as milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def _ask(
    reader: ArchiveReader, owner: Owner, corpus: Corpus, chance: random.Random
) -> Sequence[Timing]:
    timings: list[Timing] = []
    moment = from_milliseconds(corpus.end - chance.randrange(corpus.span))
    for question in draw(owner, moment, chance):
        archive = reader.archive(owner.jid)
        start = time.perf_counter()
        await archive.read(question.selection, PAGE, backward=question.backward)
        timings.append(Timing(question.name, owner.size, time.perf_counter() - start))
    start = time.perf_counter()
    await reader.archive(owner.jid).count(Selection(), moment)
    return [*timings, Timing("count", owner.size, time.perf_counter() - start)]


def _rows(timings: Sequence[Timing]) -> Sequence[Sequence[Cell]]:
    """Return a row per question, and per size the pages of all questions."""
    groups: dict[str, list[float]] = {}
    for timing in timings:
        groups.setdefault(timing.question, []).append(timing.seconds)
    for timing in timings:
        if timing.question != "count":
            name = f"any page of {timing.size:,} messages"
            groups.setdefault(name, []).append(timing.seconds)
    shares = (0.5, 0.95, 0.99)
    return [
        [name, *(percentile(seconds, share) for share in shares)]
        for name, seconds in groups.items()
    ]


@asynccontextmanager
async def _arriving(given: Settings, corpus: Corpus) -> AsyncIterator[None]:
    """Let new messages arrive meanwhile."""
    stop = asyncio.Event()
    writing = asyncio.create_task(_write(given, corpus, stop))
    try:
        yield
    finally:
        stop.set()
        await writing


async def _write(given: Settings, corpus: Corpus, stop: asyncio.Event) -> None:
    store = Store(given.dsn, given.store)
    rows = await asyncio.to_thread(next, corpus.chunks(_WRITE_ROWS))
    while not stop.is_set():
        now = int(time.time() * 1000)
        news = [row._replace(position=from_milliseconds(now, n)) for n, row in enumerate(rows)]
        await asyncio.to_thread(store.insert, news)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _WRITE_SECONDS)
    store.close()


async def _serve(directory: Path, corpus: Corpus, number: int) -> tuple[float, dict[str, float]]:
    """Measure the pages per second of a query component, and its memory."""
    listener = Listener(QUERY, _requests(corpus, number), _WINDOW, HOST)
    port = await listener.listen()
    service = archive(directory, f"127.0.0.1:{port}").service("up", "up")
    await service.launch()
    try:
        seconds = await listener.done
        peak = usage.peak(service.pid)
    finally:
        await service.stop()
        await listener.close()
    return number / seconds, {"up": peak}


def _requests(corpus: Corpus, number: int) -> Sequence[str]:
    chance = random.Random(corpus.seed)  # noqa: S311  # a seed repeats the questions
    requests: list[str] = []
    # As the tap stamps each request: nothing comes meanwhile.
    newest = from_milliseconds(int(1000 * time.time()))
    while len(requests) < number:
        for owner in sample(corpus, chance):
            moment = from_milliseconds(corpus.end - chance.randrange(corpus.span))
            last, *_, week = draw(owner, moment, chance)
            requests += [_request(owner, one, newest) for one in (last, week)]
    return requests[:number]


def _request(owner: Owner, question: Question, newest: int) -> str:
    asker = f"{owner.jid}/phone"
    header = json.dumps({"owner": owner.jid, "asker": asker, "newest": newest})
    iq = f"<iq xmlns='{CLIENT}' type='set' id='q' from='{asker}'>{question.markup(str)}</iq>"
    data = frames.write([Frame("request", header.encode(), newest), Frame("iq", iq.encode())])
    return f"<request xmlns='{QUERY_NAMESPACE}'>{base64.b64encode(data).decode()}</request>"

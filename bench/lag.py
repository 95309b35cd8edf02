"""Lag: from the stamp of a stanza-id until a query finds the message, and the wait it causes.

A real Prosody with the tap, Kafka, one of each service. Clients send at a steady rate; the store
is asked again and again for the newest position it has, which every message up to it waited for.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

from bench import usage
from bench.corpus import HOST
from bench.load import bodies
from bench.pages import percentile
from bench.questions import LAST_PAGE, ask
from bench.report import Cell, Table, Target
from devstack.deployment import Distributed
from devstack.ports import free_port
from devstack.raw import RawSession
from stanzalake.config import settings
from stanzalake.model.position import to_milliseconds
from stanzalake.store.client import Store

SIZES = {"quick": 500, "usual": 20_000, "full": 100_000}
"""Messages at most at each rate."""

_RATES = (100, 1_000, 2_000, 4_000)
_WANTED = 1_000
_CALM = _RATES[0]
"""Messages in a second at which a page hardly waits for those of its owner."""
_PAIRS = 5
_WARM = 200
"""Messages beforehand, which are not measured."""
_PAGES = 3.0
"""Last pages in a second, each a quarter of a second behind the one before."""
_ROUNDS = 3
"""Beside another checkout."""
_LONGEST = 20.0
"""Seconds for which a rate is held at most."""
_TICK = 0.01
_LOOK = 0.02
_WITHIN = 60.0
_COLUMNS = ("rate", "sent/s", "p50 ms", "p99 ms", "inserts/s", "wait of a page, p50 ms")
_WAITED = "stanzalake_freshness_wait_seconds_sum"
_SOUGHT = "owner IN {owners:Array(String)} AND position >= {since:UInt64}"


@dataclass
class Watch:
    """Record of when each position became readable.

    Attributes:
        store: Is asked, in a thread.
        owners: Bare JIDs of the archives that are looked at.
        seen: Unix time in seconds, with the newest position of each owner.
    """

    store: Store
    owners: Sequence[str]
    seen: list[tuple[float, dict[str, int]]] = field(default_factory=list)

    async def run(self, since: int, stop: asyncio.Event) -> None:
        """Look again and again, the last time once `stop` is set."""
        statement = (
            f"SELECT owner, max(position) FROM {self.store.table}"  # noqa: S608  # an identifier
            f" WHERE {_SOUGHT} GROUP BY owner"
        )
        is_last = False
        while not is_last:
            is_last = stop.is_set()
            rows = await asyncio.to_thread(self.store.select, statement, self._since(since))
            self.seen.append((time.time(), dict(map(tuple, rows))))
            await asyncio.sleep(_LOOK)

    def lags(self, since: int) -> list[float]:
        """Return the seconds from stamp to first sight of each message since a position."""
        rows = self.store.select(
            f"SELECT owner, position FROM {self.store.table}"  # noqa: S608  # an identifier
            f" WHERE {_SOUGHT} ORDER BY position",
            self._since(since),
        )
        places: dict[str, int] = {}
        return [self._lag(owner, position, places) for owner, position in rows]

    async def wait_stored(self, since: int, number: int) -> None:
        """Wait until so many messages since a position are stored.

        Raises:
            TimeoutError: They are not within a minute.
        """
        statement = f"SELECT count() FROM {self.store.table} WHERE {_SOUGHT}"  # noqa: S608  # an identifier
        async with asyncio.timeout(_WITHIN):
            found = 0
            while found < number:
                await asyncio.sleep(_LOOK)
                [[found]] = await asyncio.to_thread(
                    self.store.select, statement, self._since(since)
                )

    def _since(self, position: int) -> dict[str, Any]:
        return {"since": position, "owners": list(self.owners)}

    def _lag(self, owner: str, position: int, places: dict[str, int]) -> float:
        place = places.get(owner, 0)
        while self.seen[place][1].get(owner, 0) < position:
            place += 1
        places[owner] = place
        return self.seen[place][0] - to_milliseconds(position) / 1000


@dataclass(frozen=True)
class Pairs:
    """Clients that talk, the first with the first, and so on."""

    senders: Sequence[RawSession]
    receivers: Sequence[RawSession]

    async def talk(self, rate: int, texts: Sequence[str]) -> float:
        """Send the texts at a rate, as far as it goes; return the seconds taken."""
        start = time.perf_counter()
        for number, text in enumerate(texts):
            due = start + number / rate
            if due - time.perf_counter() > _TICK:
                await asyncio.sleep(due - time.perf_counter())
            sender, to = (one[number % _PAIRS] for one in (self.senders, self.receivers))
            sender.writer.write(
                f"<message to='{to.jid}' type='chat' id='{rate}-{number}'>"
                f"<body>{text}</body></message>".encode()
            )
            await sender.writer.drain()
        return time.perf_counter() - start

    async def listen(self) -> None:
        """Read and discard the received stanzas."""
        await asyncio.gather(*(_drain(session.reader) for session in self.receivers))


class Pipeline:
    """A distributed deployment with pairs of clients.

    Args:
        directory: The deployment's.
        tree: Another checkout to run code and modules from.

    Attributes:
        deployment: One of each service.
        pairs: The clients, after the start.
    """

    def __init__(self, directory: Path, tree: Path | None = None) -> None:
        policy = {"PROSODY_ARCHIVE_POLICY": "true"}
        self.deployment = Distributed(directory, settings=policy, number=1, tree=tree)
        addresses = self.deployment.serve_http(free_port())
        self.pairs = Pairs((), ())
        self._query = addresses["query-1"]

    async def start(self) -> None:
        """Start all, and log the clients in."""
        deployment, names = self.deployment, [f"user{number}" for number in range(2 * _PAIRS)]
        deployment.prosody.write_config()
        for name in names:
            await deployment.prosody.register(name, name)
        await deployment.start()
        sessions = [RawSession(name, name, HOST, deployment.client_port) for name in names]
        for session in sessions:
            await session.open()
        self.pairs = Pairs(sessions[:_PAIRS], sessions[_PAIRS:])

    def watch(self) -> Watch:
        """Return a record of the clients' archives, whose store the caller closes."""
        owners = [session.jid for session in (*self.pairs.senders, *self.pairs.receivers)]
        return Watch(Store.of(settings.load(self.deployment.settings)), owners)

    def waited(self) -> float:
        """Return the seconds that all pages have waited so far."""
        text = urlopen(f"http://{self._query}/metrics").read().decode()
        [line] = [line for line in text.splitlines() if line.startswith(_WAITED)]
        return float(line.removeprefix(_WAITED))


@asynccontextmanager
async def _serving(pipeline: Pipeline) -> AsyncIterator[Pipeline]:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(pipeline.deployment.stop)
        await pipeline.start()
        listening = asyncio.create_task(pipeline.pairs.listen())
        stack.callback(listening.cancel)
        yield pipeline


async def measure(
    messages: int, seed: int, directory: Path, tree: Path | None = None, name: str = ""
) -> Table:
    """Send at increasing rates until the pipeline falls behind.

    Args:
        messages: At most at each rate.
        seed: Seed of the texts.
        directory: Parent of the deployments' directories.
        tree: Another checkout, which is measured beside this one.
        name: Its name in tables.
    """
    texts = bodies(messages, seed)
    if tree is not None:
        return _table(await _beside(directory, tree, name, texts), seed)
    async with _serving(Pipeline(directory / "ours")) as ours:
        rows = await _rates(ours, texts)
        memory = {key: usage.peak(one.pid) for key, one in ours.deployment.services.items()}
    return replace(_table(rows, seed), targets=_targets(rows), memory=memory)


async def _beside(
    directory: Path, tree: Path, name: str, texts: Sequence[str]
) -> Sequence[Sequence[Cell]]:
    """Measure the two rates of the targets here and at another checkout, in turn."""
    rows = list[list[Cell]]()
    async with (
        _serving(Pipeline(directory / "here")) as here,
        _serving(Pipeline(directory / "there", tree)) as there,
    ):
        for pipeline in (here, there):
            await _rate(pipeline, _CALM, texts[:_WARM])
        for rate in _ROUNDS * [_CALM, _WANTED]:
            for kind, pipeline in (("", here), (f", {name}", there)):
                row, _seconds = await _rate(pipeline, rate, texts[: int(rate * _LONGEST)])
                rows.append([f"{_name(rate)}{kind}", *row[1:]])
    return rows


async def _rates(pipeline: Pipeline, texts: Sequence[str]) -> list[list[Cell]]:
    await _rate(pipeline, _RATES[0], texts[:_WARM])
    rows: list[list[Cell]] = [["idle", 0, "", "", "", await _waits(pipeline, 20)]]
    for rate in _RATES:
        some = texts[: int(rate * _LONGEST)]
        row, seconds = await _rate(pipeline, rate, some)
        rows.append(row)
        if float(row[3]) > 1000 or seconds > 1.2 * len(some) / rate:  # noqa: PLR2004  # a second
            break
    return rows


async def _rate(pipeline: Pipeline, rate: int, texts: Sequence[str]) -> tuple[list[Cell], float]:
    """Measure one rate; return its row and the seconds of sending.

    The lag is measured apart, as to look for messages keeps the store busy: pages waited for that.
    """
    lags, seconds = await _lags(pipeline, rate, texts)
    inserts, wait = await _wait(pipeline, rate, texts)
    shares = [percentile(lags, 0.5), percentile(lags, 0.99)]
    return [_name(rate), len(texts) / seconds, *shares, inserts, wait], seconds


async def _lags(
    pipeline: Pipeline, rate: int, texts: Sequence[str]
) -> tuple[Sequence[float], float]:
    """Return the lag of each message while pages are asked for, and the seconds of sending."""
    watch, stop, since = pipeline.watch(), asyncio.Event(), int(time.time() * 1000) << 16
    watching = asyncio.create_task(watch.run(since, stop))
    seconds, _ = await _talk(pipeline, rate, texts)
    await watch.wait_stored(since, 2 * len(texts))
    stop.set()
    await watching
    lags = watch.lags(since)
    watch.store.close()
    return lags, seconds


async def _wait(pipeline: Pipeline, rate: int, texts: Sequence[str]) -> tuple[float, float]:
    """Return the inserts in a second, and the median wait of a page in ms."""
    store = pipeline.watch().store
    before = _inserts(store)
    seconds, wait = await _talk(pipeline, rate, texts)
    inserts = (await asyncio.to_thread(_inserts, store) - before) / seconds
    store.close()
    return inserts, wait


async def _talk(pipeline: Pipeline, rate: int, texts: Sequence[str]) -> tuple[float, float]:
    """Send texts at a rate beside pages; return the seconds taken, and the median wait in ms."""
    waiting = asyncio.create_task(_waits(pipeline, max(2, int(len(texts) / rate * _PAGES))))
    seconds = await pipeline.pairs.talk(rate, texts)
    return seconds, await waiting


def _inserts(store: Store) -> int:
    """Return how many parts inserts have made so far, whatever has been merged since."""
    [[number]] = store.select(
        "SELECT sum(newest) FROM (SELECT max(max_block_number) AS newest FROM system.parts"
        " WHERE database = currentDatabase() AND table = {table:String} GROUP BY partition)",
        {"table": store.table},
    )
    return int(number)


def _name(rate: int) -> str:
    return f"{rate:,} messages/s"


async def _waits(pipeline: Pipeline, number: int) -> float:
    """Request last pages; return the median of how long each waited for earlier messages, in ms."""
    waits, before = list[float](), await asyncio.to_thread(pipeline.waited)
    for count in range(number):
        await ask(pipeline.pairs.senders[count % _PAIRS], LAST_PAGE.markup(str))
        after = await asyncio.to_thread(pipeline.waited)
        waits.append(1000 * (after - before))
        before = after
        await asyncio.sleep(0.25)
    return median(waits)


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


def _table(rows: Sequence[Sequence[Cell]], seed: int) -> Table:
    return Table(
        part="lag",
        title="From the stanza-id to the archive",
        load=f"{_PAIRS} pairs of clients, two archives for each message; seen within "
        f"{_LOOK * 1000:.0f} ms and a look; {_PAGES:g} last pages a second; inserts and waits "
        f"without looks; seed {seed}",
        columns=_COLUMNS,
        rows=rows,
        drawn=("p50 ms", "p99 ms"),
    )


def _targets(rows: Sequence[Sequence[Cell]]) -> list[Target]:
    found = {row[0]: row for row in rows}
    missing: list[Cell] = [float("inf")] * len(_COLUMNS)
    p99 = float(found.get(_name(_WANTED), missing)[_COLUMNS.index("p99 ms")])
    wait = float(found.get(_name(_CALM), missing)[-1])
    return [
        Target(f"ms of lag, p99, at {_name(_WANTED)}", p99, 1000, least=False),
        Target(f"ms that a page waits, p50, at {_name(_CALM)}", wait, 40, least=False),
    ]

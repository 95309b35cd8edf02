"""Lag: from the stamp of a stanza-id until a query finds the message, and the wait it causes.

A real Prosody with the tap, Kafka, one of each service. Clients send at a steady rate; the store
is asked again and again for the newest position it has, which every message up to it waited for.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
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
_LONGEST = 20.0
"""Seconds for which a rate is held at most."""
_TICK = 0.01
_LOOK = 0.02
_WITHIN = 60.0
_COLUMNS = ("rate", "sent/s", "p50 ms", "p99 ms", "wait of a page, p50 ms")
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


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Send at increasing rates until the pipeline falls behind."""
    names = [f"user{number}" for number in range(2 * _PAIRS)]
    port = free_port()
    deployment = Distributed(directory, settings={"PROSODY_ARCHIVE_POLICY": "true"}, number=1)
    deployment.services["query-1"].environment = {
        **deployment.services["query-1"].environment,
        "STANZALAKE_HTTP_ADDRESS": f"127.0.0.1:{port}",
    }
    try:
        deployment.prosody.write_config()
        for name in names:
            await deployment.prosody.register(name, name)
        await deployment.start()
        sessions = [RawSession(name, name, HOST, deployment.client_port) for name in names]
        for session in sessions:
            await session.open()
        rows = await _rates(
            deployment, Pairs(sessions[:_PAIRS], sessions[_PAIRS:]), port, bodies(messages, seed)
        )
        memory = {name: usage.peak(one.pid) for name, one in deployment.services.items()}
    finally:
        await deployment.stop()
    return _table(rows, seed, memory)


async def _rates(
    deployment: Distributed, pairs: Pairs, port: int, texts: Sequence[str]
) -> list[list[Cell]]:
    listening = asyncio.create_task(pairs.listen())
    await _rate(deployment, pairs, port, _RATES[0], texts[:_WARM])
    rows: list[list[Cell]] = [["idle", 0, "", "", await _waits(pairs, port, 20)]]
    for rate in _RATES:
        some = texts[: int(rate * _LONGEST)]
        row, seconds = await _rate(deployment, pairs, port, rate, some)
        rows.append(row)
        if float(row[3]) > 1000 or seconds > 1.2 * len(some) / rate:  # noqa: PLR2004  # a second
            break
    listening.cancel()
    return rows


async def _rate(
    deployment: Distributed, pairs: Pairs, port: int, rate: int, texts: Sequence[str]
) -> tuple[list[Cell], float]:
    """Measure one rate; return its row and the seconds of sending."""
    store = Store.of(settings.load(deployment.settings))
    watch = Watch(store, [session.jid for session in (*pairs.senders, *pairs.receivers)])
    stop = asyncio.Event()
    since = int(time.time() * 1000) << 16
    watching = asyncio.create_task(watch.run(since, stop))
    waiting = asyncio.create_task(_waits(pairs, port, max(2, int(len(texts) / rate * 2))))
    seconds = await pairs.talk(rate, texts)
    wait = await waiting
    await watch.wait_stored(since, 2 * len(texts))
    stop.set()
    await watching
    lags = watch.lags(since)
    store.close()
    cells = [len(texts) / seconds, percentile(lags, 0.5), percentile(lags, 0.99), wait]
    return [_name(rate), *cells], seconds


def _name(rate: int) -> str:
    return f"{rate:,} messages/s"


async def _waits(pairs: Pairs, port: int, number: int) -> float:
    """Request last pages; return the median of how long each waited for earlier messages, in ms."""
    waits, before = list[float](), await asyncio.to_thread(_waited, port)
    for count in range(number):
        await ask(pairs.senders[count % _PAIRS], LAST_PAGE.markup(str))
        after = await asyncio.to_thread(_waited, port)
        waits.append(1000 * (after - before))
        before = after
        await asyncio.sleep(0.25)
    return median(waits)


def _waited(port: int) -> float:
    """Return the seconds that all pages have waited so far."""
    text = urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    [line] = [line for line in text.splitlines() if line.startswith(_WAITED)]
    return float(line.removeprefix(_WAITED))


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


def _table(rows: Sequence[Sequence[Cell]], seed: int, memory: dict[str, float]) -> Table:
    found = {row[0]: row for row in rows}
    missing: list[Cell] = [float("inf")] * len(_COLUMNS)
    p99 = float(found.get(_name(_WANTED), missing)[_COLUMNS.index("p99 ms")])
    wait = float(found.get(_name(_CALM), missing)[-1])
    return Table(
        part="lag",
        title="From the stanza-id to the archive",
        load=f"{_PAIRS} pairs of clients, two archives for each message; seen within "
        f"{_LOOK * 1000:.0f} ms and a look; seed {seed}",
        columns=_COLUMNS,
        rows=rows,
        drawn=("p50 ms", "p99 ms"),
        targets=[
            Target(f"ms of lag, p99, at {_name(_WANTED)}", p99, 1000, least=False),
            Target(f"ms that a page waits, p50, at {_name(_CALM)}", wait, 40, least=False),
        ],
        memory=memory,
    )

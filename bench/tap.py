"""Cost of an archive for Prosody: the tap, beside no archive and mod_mam.

Every contender is the same Prosody, under the same load. All run in turn, several times, and the
table shows medians: messages per second, Prosody's CPU time (utime + stime), latency from client
to client while they send as fast as they can.
"""

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import astuple, dataclass
from pathlib import Path

from bench import accounts, load, usage
from bench.report import Cell, Table, Target
from devstack.deployment import HOST, INGEST, Deployment
from devstack.ports import free_port
from devstack.postgres import Postgres
from devstack.prosody import Prosody
from devstack.raw import RawSession

SIZES = {"quick": 2_000, "usual": 10_000, "full": 100_000}
PAIRS = (10, 200)
_QUICK_PAIRS = (2, 4)

NONE = "no archive"
ELSEWHERE = "tap, archive elsewhere"
TAP = "tap"
OUTAGE = "tap, archive stopped meanwhile"
POSTGRES = "mod_mam, PostgreSQL"
CONTENDERS = (
    *(NONE, ELSEWHERE, TAP, OUTAGE),
    *("mod_mam, internal storage", "mod_mam, SQLite", POSTGRES),
)

_RUNS = 3
_WARM = 5
"""Messages of each pair beforehand: rosters are read, the heap has grown."""
_SLOWER = 10
"""Factor by which mod_mam gets fewer messages, as each takes longer."""
_OUTAGE_SECONDS = 60.0
MOD_MAM = 'default_archive_policy = true\nstorage = { archive = "sql" }\n'
_SQLITE = 'sql = { driver = "SQLite3", database = "archive.sqlite" }\n'


class Durable(Postgres):
    """PostgreSQL with its default durability: acknowledged means on disk."""

    def command(self) -> Sequence[str | Path]:
        """Return the server's command."""
        return *super().command(), "--fsync=on"


@dataclass
class Figures:
    """Figures of a run, or medians of several runs.

    Attributes:
        rate: Messages per second.
        cpu: Prosody's CPU time per message, in microseconds.
        p50: Median latency in milliseconds.
        p99: 99th percentile of the latency in milliseconds.
        memory: MiB of Prosody at most.
        archive: MiB of the archive's process at most; 0 if there is none.
    """

    rate: float
    cpu: float
    p50: float
    p99: float
    memory: float
    archive: float = 0.0


@dataclass
class Contender:
    """A running Prosody with one kind of archive.

    Attributes:
        prosody: The server.
        deployment: Our archive beside it, if any.
    """

    prosody: Prosody
    deployment: Deployment | None = None

    async def phases(self, kind: str, outage: float) -> AsyncIterator[None]:
        """Yield for each part of a run; OUTAGE stops the archive in the middle.

        Args:
            kind: The contender.
            outage: Minimum seconds of the outage.
        """
        yield
        if kind == OUTAGE and self.deployment is not None:
            await self.deployment.stop_service()
            begun = time.perf_counter()
            while time.perf_counter() < begun + outage:
                yield
            await self.deployment.start_service()
            yield

    def archive(self) -> float:
        """Return the peak memory of the archive's process in MiB."""
        services = self.deployment.services.values() if self.deployment else ()
        return sum(usage.peak(service.pid) for service in services)


@contextlib.asynccontextmanager
async def running(kind: str, directory: Path, users: Sequence[str]) -> AsyncIterator[Contender]:
    """Run a contender, with accounts whose passwords are their names."""
    async with AsyncExitStack() as stack:
        if kind in (TAP, OUTAGE):
            deployment = Deployment(directory, settings={"PROSODY_ARCHIVE_POLICY": "true"})
            deployment.prosody.extra_host = accounts.PLAIN
            accounts.register(deployment.prosody, users)
            stack.push_async_callback(deployment.stop)
            await deployment.start()
            yield Contender(deployment.prosody, deployment)
            return
        prosody = _prosody(kind, directory, await _storage(kind, stack))
        accounts.register(prosody, users)
        stack.push_async_callback(prosody.stop)
        await prosody.start()
        if kind == ELSEWHERE:
            await _elsewhere(prosody, stack)
        yield Contender(prosody)


def _prosody(kind: str, directory: Path, storage: str) -> Prosody:
    modules = ("stanzalake",) if kind == ELSEWHERE else ("mam",) if "mam" in kind else ()
    return Prosody(
        directory=directory,
        client_port=free_port(),
        component_port=free_port(),
        modules=modules,
        ingest=(INGEST,),
        policy="true",
        extra_host=accounts.PLAIN + storage,
    )


async def _storage(kind: str, stack: AsyncExitStack) -> str:
    if kind == POSTGRES:
        database = Durable()
        stack.push_async_callback(database.stop)
        await database.start()
        return MOD_MAM + database.prosody
    return MOD_MAM + _SQLITE if kind.endswith("SQLite") else "default_archive_policy = true\n"


async def _elsewhere(prosody: Prosody, stack: AsyncExitStack) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.elsewhere", INGEST, str(prosody.component_port)),
        env={**os.environ, "SECRET": prosody.component_secret},
        stdout=asyncio.subprocess.PIPE,
    )

    async def stop() -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()

    stack.push_async_callback(stop)
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    await process.stdout.readline()


async def run(
    kind: str, pairs: int, texts: Sequence[str], directory: Path, outage: float
) -> Figures:
    """Run one contender once; the kind may stop its archive for some seconds."""
    names = [f"user{n}" for n in range(2 * pairs)]
    async with running(kind, directory, names) as contender:
        prosody = contender.prosody
        sessions = [RawSession(name, name, HOST, prosody.client_port) for name in names]
        await asyncio.gather(*(session.open() for session in sessions))
        senders, receivers = sessions[:pairs], sessions[pairs:]
        await load.run(senders, receivers, ["warm"] * (_WARM * pairs))
        before, results = usage.cpu(prosody.pid), list[load.Result]()
        some = list(texts[: len(texts) // pairs * pairs])
        async for _ in contender.phases(kind, outage):
            results.append(await load.run(senders, receivers, some))
        figures = _figures(results, usage.cpu(prosody.pid) - before, contender)
        await asyncio.gather(*(session.close() for session in sessions))
        return figures


def _figures(results: Sequence[load.Result], cpu: float, contender: Contender) -> Figures:
    latencies = sorted(latency for result in results for latency in result.latencies)
    whole = load.Result(sum(result.seconds for result in results), latencies)
    return Figures(
        rate=len(latencies) / whole.seconds,
        cpu=cpu / len(latencies) * 1e6,
        p50=whole.latency(0.5) * 1e3,
        p99=whole.latency(0.99) * 1e3,
        memory=usage.peak(contender.prosody.pid),
        archive=contender.archive(),
    )


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Run all contenders in turn, and compare their medians."""
    texts = load.bodies(messages, seed)
    # Every fourth needs an escape in XML, as about as many messages of people do.
    texts[::4] = [f"don't {text}" for text in texts[::4]]
    begun, before = time.perf_counter(), time.process_time()
    runs, numbers = (_RUNS, PAIRS) if messages > SIZES["quick"] else (1, _QUICK_PAIRS)
    outage = _OUTAGE_SECONDS if runs > 1 else 0.1
    medians = {
        pairs: await _medians(pairs, texts, runs, directory / str(pairs), outage)
        for pairs in numbers
    }
    share = (time.process_time() - before) / (time.perf_counter() - begun)
    few, many = medians.values()
    return Table(
        part="tap",
        title="What an archive costs Prosody, local to local, both sides archived",
        load=f"{messages:,} messages ({messages // _SLOWER:,} with mod_mam), medians of {runs} "
        f"alternating runs, seed {seed}, {os.cpu_count()} cores for all processes, of which the "
        f"load takes {share:.0%} of one; where the archive is stopped, one run, in the middle of "
        f"which it is away for {outage:g} seconds",
        columns=(
            *("archive, pairs", "messages/s", "of no archive", "CPU µs/message", "added"),
            *("p50 ms", "p99 ms"),
        ),
        rows=[
            _row(f"{kind}, {pairs}", figures, of_pairs[NONE])
            for pairs, of_pairs in medians.items()
            for kind, figures in of_pairs.items()
        ],
        drawn=("messages/s",),
        targets=[
            Target("µs of CPU that the tap adds to a message", _added(few), 80, least=False),
            *_targets(few, numbers[0]),
            *_targets(many, numbers[1]),
        ],
        memory={
            "Prosody, no archive": many[NONE].memory,
            "Prosody, tap": many[TAP].memory,
            f"Prosody, {OUTAGE}": many[OUTAGE].memory,
            "stanzalake": many[TAP].archive,
        },
    )


async def _medians(
    pairs: int, texts: Sequence[str], runs: int, directory: Path, outage: float
) -> dict[str, Figures]:
    figures: dict[str, list[Figures]] = {kind: [] for kind in CONTENDERS}
    for number in range(runs):
        for kind, those in figures.items():
            # It takes minutes, so it is run once.
            if kind != OUTAGE or not number:
                some = texts[: len(texts) // _SLOWER] if "mod_mam" in kind else texts
                place = directory / f"{kind} {number}"
                those.append(await run(kind, pairs, some, place, outage))
    return {kind: _median(those) for kind, those in figures.items()}


def _median(runs: Sequence[Figures]) -> Figures:
    columns = zip(*map(astuple, runs), strict=True)
    return Figures(*(statistics.median(column) for column in columns))


def _row(name: str, figures: Figures, none: Figures) -> list[Cell]:
    share, added = figures.rate / none.rate, figures.cpu - none.cpu
    return [name, figures.rate, share, figures.cpu, added, figures.p50, figures.p99]


def _added(medians: Mapping[str, Figures]) -> float:
    return medians[TAP].cpu - medians[NONE].cpu


def _targets(medians: Mapping[str, Figures], pairs: int) -> list[Target]:
    none, rates = medians[NONE], {kind: figures.rate for kind, figures in medians.items()}
    shares = [
        Target(f"share of the throughput without an archive, {kind}, {pairs} pairs", share, 0.6)
        for kind in (ELSEWHERE, TAP, OUTAGE)
        if (share := rates[kind] / none.rate)
    ]
    times = rates[TAP] / rates[POSTGRES]
    slower = medians[TAP].p99 / none.p99
    return [
        *shares,
        Target(f"times the throughput of mod_mam on PostgreSQL, {pairs} pairs", times, 10),
        Target(f"times the p99 latency without an archive, {pairs} pairs", slower, 2, least=False),
    ]

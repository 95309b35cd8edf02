"""Prosody with the tap, against Prosody with no archive and with mod_mam.

    python -m bench.tap --messages 10000 --pairs 10 --runs 3

All contenders run in turn, several times, and the table shows medians: of messages per second, of
Prosody's CPU time per message (utime + stime), and of the latency from client to client.
"""

import asyncio
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench import load
from stanzalake.local.deployment import HOST, Deployment
from stanzalake.local.ports import free_port
from stanzalake.local.prosody import Prosody

SEED = 20260101
CONTENDERS = ("no archive", "tap", "mod_mam, internal storage", "mod_mam, SQLite")
_SQLITE = 'storage = { archive = "sql" }\nsql = { driver = "SQLite3", database = "archive.sqlite" }'
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """One run of one contender.

    Attributes:
        rate: Messages per second.
        cpu: Prosody's CPU time per message, in microseconds.
        p50: Median latency in milliseconds.
        p99: 99th percentile of it in milliseconds.
    """

    rate: float
    cpu: float
    p50: float
    p99: float


class Contender:
    """A Prosody with one kind of archive.

    Args:
        kind: One of CONTENDERS.
        directory: Where it lives.
    """

    def __init__(self, kind: str, directory: Path) -> None:
        self._deployment: Deployment | None = None
        if kind == "tap":
            self._deployment = Deployment(directory, settings={"PROSODY_ARCHIVE_POLICY": "true"})
            self.prosody = self._deployment.prosody
        else:
            self.prosody = Prosody(
                directory=directory,
                client_port=free_port(),
                component_port=free_port(),
                modules=("mam",) if kind.startswith("mod_mam") else (),
                extra_global="default_archive_policy = true",
                extra_host=_SQLITE if kind.endswith("SQLite") else "",
                ingest=("unused.example",),
                query=(),
            )

    async def start(self, users: list[str]) -> None:
        """Start it, with accounts whose passwords are their names."""
        if self._deployment is not None:
            await self._deployment.start()
        else:
            self.prosody.write_config()
        for user in users:
            await self.prosody.register(user, user)
        if self._deployment is None:
            await self.prosody.start()

    async def stop(self) -> None:
        """Stop it."""
        await (self._deployment or self.prosody).stop()

    def cpu(self) -> float:
        """Give the seconds of CPU time that Prosody has used."""
        fields = Path(f"/proc/{self.prosody.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


async def measure(kind: str, pairs: int, texts: list[str]) -> Figures:
    """Run one contender once."""
    names = [f"user{n}" for n in range(2 * pairs)]
    with tempfile.TemporaryDirectory(prefix="stanzalake-bench-") as directory:
        contender = Contender(kind, Path(directory))
        try:
            await contender.start(names)
            port = contender.prosody.client_port
            sessions = [load.Session(name, name, HOST, port) for name in names]
            await asyncio.gather(*(session.open() for session in sessions))
            before = contender.cpu()
            result = await load.run(sessions[:pairs], sessions[pairs:], texts)
            cpu = contender.cpu() - before
            await asyncio.gather(*(session.close() for session in sessions))
        finally:
            await contender.stop()
    return Figures(
        len(texts) / result.seconds,
        cpu / len(texts) * 1e6,
        result.latency(0.5) * 1e3,
        result.latency(0.99) * 1e3,
    )


def show(figures: dict[str, list[Figures]]) -> None:
    """Print the medians, and each contender's ratio to no archive."""
    table = Table(title="Prosody, local to local, both sides archived")
    for column in ("archive", "messages/s", "ratio", "CPU µs/message", "added", "p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "archive" else "right")
    rates = {k: statistics.median(f.rate for f in runs) for k, runs in figures.items()}
    cpus = {k: statistics.median(f.cpu for f in runs) for k, runs in figures.items()}
    base = CONTENDERS[0]
    for kind, runs in figures.items():
        table.add_row(
            kind,
            f"{rates[kind]:,.0f}",
            f"{rates[kind] / rates[base]:.2f}",
            f"{cpus[kind]:,.0f}",
            f"{cpus[kind] - cpus[base]:+,.0f}",
            f"{statistics.median(f.p50 for f in runs):,.1f}",
            f"{statistics.median(f.p99 for f in runs):,.1f}",
        )
    Console().print(table)


@click.command()
@click.option("--messages", default=10_000, show_default=True)
@click.option("--pairs", default=10, show_default=True)
@click.option("--runs", default=3, show_default=True, help="Of each contender, in turn.")
def main(messages: int, pairs: int, runs: int) -> None:
    """Measure what an archive costs Prosody."""
    texts = load.bodies(messages - messages % pairs, SEED)
    figures: dict[str, list[Figures]] = {kind: [] for kind in CONTENDERS}
    for _ in range(runs):
        for kind in CONTENDERS:
            figures[kind].append(asyncio.run(measure(kind, pairs, texts)))
    print(f"{len(texts):,} messages, {pairs} pairs, medians of {runs} runs, seed {SEED}")
    show(figures)


if __name__ == "__main__":
    main()

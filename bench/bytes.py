"""Bytes that a stored message takes: ours, and mod_mam's on PostgreSQL and SQLite."""

import asyncio
from pathlib import Path

from bench import pages
from bench.corpus import Corpus
from bench.report import Cell, Table, Target
from bench.rival import OnPostgres, OnSQLite, Rival
from stanzalake.config import settings
from stanzalake.store.client import Store

SIZES = {"quick": 5_000, "usual": 1_000_000, "full": 5_000_000}


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Write the same messages into each."""
    corpus = Corpus(messages, seed)
    number = sum(owner.size for owner in corpus.owners)
    stanza = sum(len(row.stanza.encode()) for row in corpus.rows()) / number
    ours = await asyncio.to_thread(_ours, corpus, directory / "ours") / number
    rows: list[list[Cell]] = [["the stanza itself", stanza, stanza / ours], ["ours", ours, 1.0]]
    for rival in (OnPostgres(directory / "postgres"), OnSQLite(directory / "sqlite")):
        size = await _theirs(rival, corpus) / number
        rows.append([rival.name, size, size / ours])
    against = {str(row[0]): float(row[2]) for row in rows}
    return Table(
        part="bytes",
        title="Bytes of a stored message",
        load=f"{number:,} messages of {len(corpus.owners):,} owners, indexes included, merged; "
        f"seed {seed}",
        columns=("archive", "bytes", "times ours"),
        rows=rows,
        drawn=("bytes",),
        targets=[Target("times smaller than PostgreSQL", against[OnPostgres.name], 12)],
    )


def _ours(corpus: Corpus, directory: Path) -> int:
    given = settings.load(pages.archive(directory).settings)
    pages.fill(given, corpus)
    store = Store.of(given)
    store.command(f"OPTIMIZE TABLE {store.table} FINAL")
    size = store.size()
    store.close()
    return size


async def _theirs(rival: Rival, corpus: Corpus) -> int:
    try:
        await rival.prepare(["user0"])
        await asyncio.to_thread(rival.fill, corpus.rows())
        return rival.size()
    finally:
        await rival.stop()

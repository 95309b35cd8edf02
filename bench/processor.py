"""The processor draining a backlog, beside its bounds: reading alone, inserting alone.

The backlog is in a real Kafka, the store behind ClickHouse's HTTP interface. The processor is one
process of `stanzalake processor` with its default settings; the bounds run in this one.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from bench import usage
from bench.corpus import DAY, Corpus, event
from bench.report import Cell, Table, Target
from devstack.deployment import Distributed
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP, Entry, Log
from stanzalake.log.kafka import connection
from stanzalake.log.kafka.commits import partition_of
from stanzalake.model.event import encode
from stanzalake.store.client import Store

SIZES = {"quick": 20_000, "usual": 1_000_000, "full": 1_000_000}

_WITHIN = 1800.0
_PIECE = 50_000


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Fill the topic, and drain it with each contender."""
    corpus = Corpus(messages, seed, span=DAY)
    deployment = Distributed(directory, settings={"PROSODY_ARCHIVE_POLICY": "true"}, number=1)
    try:
        await deployment.prepare()
        given = settings.load(deployment.settings)
        async with opening.open_log(given) as log:
            number = await fill(log, corpus)
            bare = [await _read(given, number), _insert(given, corpus, number)]
            whole, memory = await _process(deployment, given, log, corpus, number)
        memory |= {
            "Kafka": usage.peak(deployment.kafka.pid),
            "ClickHouse": usage.peak(deployment.clickhouse.pid),
        }
    finally:
        await deployment.stop()
    return _table([*bare, whole], corpus, number, memory)


async def fill(log: Log, corpus: Corpus) -> int:
    """Append the events of a corpus to the log; return their number."""
    number = 0
    for rows in corpus.chunks(_PIECE // 10):
        await log.append(EVENTS, [Entry(row.owner, encode(event(row))) for row in rows])
        number += len(rows)
    return number


async def drained(log: Log, given: Settings, corpus: Corpus) -> None:
    """Wait until the processors have committed all that is in the log."""
    one_of_each = {
        partition_of(owner.jid, given.kafka_partitions): owner.jid for owner in corpus.owners
    }
    for owner in one_of_each.values():
        if not await log.wait_committed(EVENTS, PROCESSOR_GROUP, owner, _WITHIN):
            raise TimeoutError("the processor did not come to the end")


async def _read(given: Settings, number: int) -> list[Cell]:
    consumer = AIOKafkaConsumer(
        EVENTS,
        **connection.client_arguments(given),
        auto_offset_reset="earliest",
        fetch_max_bytes=1 << 24,
        max_partition_fetch_bytes=1 << 21,
    )
    await consumer.start()
    start, before, left = time.perf_counter(), time.process_time(), number
    while left:
        found = await consumer.getmany(timeout_ms=1000)
        left -= sum(map(len, found.values()))
    figures = _row("aiokafka getmany alone", number, start, time.process_time() - before)
    await consumer.stop()
    return figures


def _insert(given: Settings, corpus: Corpus, number: int) -> list[Cell]:
    """Insert the same rows into a table of their own, then drop it."""
    store = Store.of(given)
    store.command(f"CREATE TABLE bare AS {store.table}")
    bare = Store(given.dsn, "bare")
    seconds = cpu = 0.0
    for rows in corpus.chunks(_PIECE):
        start, before = time.perf_counter(), time.process_time()
        bare.insert(rows)
        seconds += time.perf_counter() - start
        cpu += time.process_time() - before
    store.command("DROP TABLE bare SYNC")
    return _row("insert alone", number, time.perf_counter() - seconds, cpu)


async def _process(
    deployment: Distributed, given: Settings, log: Log, corpus: Corpus, number: int
) -> tuple[list[Cell], dict[str, float]]:
    service = deployment.service("processor", "processor")
    await service.start()
    start, before = time.perf_counter(), usage.cpu(service.pid)
    await drained(log, given, corpus)
    figures = _row("processor", number, start, usage.cpu(service.pid) - before)
    peak = usage.peak(service.pid)
    await service.stop()
    store = Store.of(given)
    [[stored]] = store.select(f"SELECT count() FROM {store.table} FINAL")  # noqa: S608  # an identifier
    if stored != number:
        raise AssertionError(f"{stored} rows of {number} events")
    return figures, {"processor": peak}


def _row(name: str, number: int, start: float, cpu: float) -> list[Cell]:
    return [name, number / (time.perf_counter() - start), cpu / number * 1e6]


def _table(
    rows: Sequence[Sequence[Cell]], corpus: Corpus, number: int, memory: dict[str, float]
) -> Table:
    [_, bare, whole] = [float(row[1]) for row in rows]
    return Table(
        part="processor",
        title="A backlog from Kafka into the store, by one process",
        load=f"{number:,} events of a day and {len(corpus.owners):,} owners, seed {corpus.seed}, "
        f"{os.cpu_count()} cores for all",
        columns=("what", "events/s", "CPU s per million"),
        rows=rows,
        drawn=("events/s",),
        targets=[
            Target("events/s of one processor", whole, 60_000),
            Target("events/s against the bare insert", whole / bare, 0.5),
        ],
        memory=memory,
    )

"""Ingest: from batches on an XMPP stream to records that Kafka has acknowledged.

The batches are as large as a tap makes them when it is busy, and as many at a time.
"""

import base64
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from bench import usage
from bench.corpus import HOST, Corpus, event
from bench.listener import Listener
from bench.report import Cell, Table, Target
from devstack.deployment import INGEST, Distributed
from ingest.batch import NAMESPACE
from stanzalake.config import settings
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, Entry
from stanzalake.model.event import encode

SIZES = {"quick": 5_000, "usual": 300_000, "full": 1_000_000}

_EVENTS_OF_A_BATCH = 300
_WINDOW = 8


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Append the same events by ingest, and by a bare producer."""
    corpus = Corpus(messages, seed)
    entries = [Entry(row.owner, encode(event(row))) for row in corpus.rows()]
    requests = [_request(piece) for piece in _pieces(entries)]
    listener = Listener(INGEST, requests, _WINDOW, HOST)
    port = await listener.listen()
    deployment = Distributed(
        directory, settings={"STANZALAKE_PROSODY": f"127.0.0.1:{port}"}, number=1
    )
    try:
        await deployment.prepare()
        bare = await _produce(deployment, entries)
        whole, memory = await _ingest(deployment, listener, len(entries))
        memory["Kafka"] = usage.peak(deployment.kafka.pid)
    finally:
        await deployment.stop()
        await listener.close()
    return Table(
        part="ingest",
        title="Batches of a tap into Kafka, by one process",
        load=f"{len(entries):,} events in batches of {_EVENTS_OF_A_BATCH}, {_WINDOW} at a time, "
        f"seed {seed}",
        columns=("what", "events/s", "CPU s per million"),
        rows=[bare, whole],
        drawn=("events/s",),
        targets=[Target("events/s of one ingest", float(whole[1]), 30_000)],
        memory=memory,
    )


async def _produce(deployment: Distributed, entries: Sequence[Entry]) -> list[Cell]:
    async with opening.open_log(settings.load(deployment.settings)) as log:
        await log.append(EVENTS, entries[:1])
        start, before = time.perf_counter(), time.process_time()
        for piece in _pieces(entries):
            await log.append(EVENTS, piece)
        cpu = time.process_time() - before
        return _row("append alone", len(entries), time.perf_counter() - start, cpu)


async def _ingest(
    deployment: Distributed, listener: Listener, number: int
) -> tuple[list[Cell], dict[str, float]]:
    service = deployment.service("ingest", "ingest")
    await service.launch()
    await listener.begun.wait()
    before = usage.cpu(service.pid)
    seconds = await listener.done
    cpu = usage.cpu(service.pid) - before
    peak = usage.peak(service.pid)
    await service.stop()
    return _row("ingest", number, seconds, cpu), {"ingest": peak}


def _pieces(entries: Sequence[Entry]) -> Sequence[Sequence[Entry]]:
    rest = iter(entries)
    return list(iter(lambda: list(islice(rest, _EVENTS_OF_A_BATCH)), []))


def _request(entries: Sequence[Entry]) -> str:
    text = base64.b64encode(b"".join(entry.value + b"\n" for entry in entries)).decode()
    return f"<batch xmlns='{NAMESPACE}'>{text}</batch>"


def _row(name: str, number: int, seconds: float, cpu: float) -> list[Cell]:
    return [name, number / seconds, cpu / number * 1e6]

"""The inbox (XEP-0430) of an archive with many conversations, beside a page of the same archive."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median

from bench import pages
from bench.corpus import HOST, YEAR
from bench.load import bodies
from bench.report import Table, Target
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.model.inbox import Inbox
from stanzalake.model.page import Archive, Conversation, Selection
from stanzalake.model.position import MAX_POSITION, Sealer, from_milliseconds
from stanzalake.model.retention import FOREVER
from stanzalake.observability import gc_tuning
from stanzalake.store import migrations
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Row, Store
from stanzalake.store.erasures import Erasures

SIZES = {"quick": 5_000, "usual": 100_000, "full": 1_000_000}

_OWNER = f"owner@{HOST}"
_PEERS = 500
_INSERTS = 300
_PAGE = 50
_ROUNDS = 40
_WARM_UP = 3
_NEWS = 20
"""Messages that came between two inboxes."""
_MARKERS = 5
"""One message in so many is a displayed marker."""

Read = Callable[[Archive], Awaitable[object]]


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Read pages and inboxes of an archive in turn; CPU is that of the process with its engine."""
    given = settings.load(pages.archive(directory).settings)
    store = await asyncio.to_thread(_fill, given, messages, seed)
    gc_tuning.tune()  # as the query service does
    reader = ArchiveReader(store, Sealer(given.id_key_list), FOREVER)
    timings = await _alternate(reader, await _reads(reader))
    await reader.close()
    store.close()
    (_, page_p50, page_cpu), (_, _, first_cpu), (_, inbox_p50, inbox_cpu) = rows = [
        (name, *(1000 * median(column) for column in zip(*seconds, strict=True)))
        for name, seconds in timings.items()
    ]
    return Table(
        part="inbox",
        title=f"The inbox beside a page, each of {_PAGE}",
        load=f"an archive of {messages:,} messages with {_PEERS} conversations over a year, one in "
        f"{_MARKERS} a marker, as {_INSERTS} inserts and merges left them; an inbox that the query "
        f"service has read before, and {_NEWS} messages later; medians of {_ROUNDS} alternating "
        f"reads; seed {seed}",
        columns=("read", "p50 ms", "CPU ms"),
        rows=rows,
        drawn=("p50 ms", "CPU ms"),
        targets=[
            Target("times a page's CPU, first", first_cpu / page_cpu, 2, least=False),
            Target("times a page's p50, later", inbox_p50 / page_p50, 2, least=False),
            Target("times a page's CPU, later", inbox_cpu / page_cpu, 2, least=False),
        ],
    )


async def _alternate(
    reader: ArchiveReader, reads: Mapping[str, Read]
) -> dict[str, list[tuple[float, float]]]:
    """Return the seconds and CPU seconds of each read."""
    timings: dict[str, list[tuple[float, float]]] = {name: [] for name in reads}
    for n in range(_WARM_UP + _ROUNDS):
        for name, read in reads.items():
            start, cpu = time.perf_counter(), time.process_time()
            await read(reader.archive(_OWNER))
            if n >= _WARM_UP:
                timings[name] += [(time.perf_counter() - start, time.process_time() - cpu)]
    return timings


async def _reads(reader: ArchiveReader) -> Mapping[str, Read]:
    """Return the reads that are compared: all of the store, none from a snapshot."""
    newest = (await reader.archive(_OWNER).read(Selection(), _NEWS, backward=True)).items
    known = await reader.inbox(_OWNER, Inbox(), newest[0].position)

    async def later(archive: Archive) -> None:
        inbox = await reader.inbox(_OWNER, known, MAX_POSITION)
        await _last_messages(archive, inbox.conversations({}, 0))

    return {"page with its count": _page, "first inbox": _first, "later inbox": later}


async def _page(archive: Archive) -> None:
    await archive.read(Selection(), _PAGE, backward=True)
    await archive.count(Selection(), MAX_POSITION)


async def _first(archive: Archive) -> None:
    await _last_messages(archive, await archive.conversations({}))


async def _last_messages(archive: Archive, conversations: Sequence[Conversation]) -> None:
    positions = frozenset(conversation.newest for conversation in conversations[:_PAGE])
    await archive.read(Selection(positions=positions), _PAGE)


def _fill(given: Settings, messages: int, seed: int) -> Store:
    store = Store.of(given)
    migrations.apply(store, given)
    rows = _rows(messages, seed)
    while some := list(islice(rows, max(1, messages // _INSERTS))):
        store.insert(some)
    pages.settle(store)
    # As a processor does: whose archive may have something hidden is kept in memory.
    Erasures(store).complete()
    return store


def _rows(messages: int, seed: int) -> Iterator[Row]:
    """Yield messages in order of time; the lower a peer's number, the more is said."""
    chance = random.Random(seed)  # noqa: S311  # a seed repeats the archive
    end, texts = int(1000 * time.time()), bodies(messages, seed)
    last: dict[str, int] = {}
    for n, text in enumerate(texts):
        peer = f"peer{int(_PEERS * chance.random() ** 2)}@{HOST}"
        position = from_milliseconds(end - YEAR + n * YEAR // messages)
        if chance.randrange(_MARKERS) == 0 and peer in last:
            marker = f"<displayed xmlns='urn:xmpp:chat-markers:0' id='m{last[peer]}'/>"
            yield _row(n, position, peer, "out", marker)
        else:
            direction = chance.choices(("in", "out"), (2, 1))[0]
            yield _row(n, position, peer, direction, f"<body>{text}</body>")
            if direction == "in":
                last[peer] = n


def _row(number: int, position: int, peer: str, direction: str, content: str) -> Row:
    sender, receiver = (f"{peer}/phone", _OWNER) if direction == "in" else (f"{_OWNER}/phone", peer)
    stanza = (
        f"<message xmlns='jabber:client' id='m{number}' type='chat' to='{receiver}' "
        f"from='{sender}'>{content}</message>"
    )
    resource = "phone" if direction == "in" else ""
    return Row(_OWNER, position, peer, resource, direction, "chat", stanza)

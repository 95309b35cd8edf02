"""The inbox (XEP-0430) of an archive with many conversations, beside a page of the same archive."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median

from bench import pages
from bench.contenders import Ours, open_sessions
from bench.corpus import HOST, YEAR
from bench.load import bodies
from bench.questions import LAST_PAGE, ask
from bench.report import Cell, Table, Target
from devstack.raw import RawSession
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
from stanzalake.xmpp.namespaces import INBOX, RSM

SIZES = {"quick": 5_000, "usual": 100_000, "full": 1_000_000}
"""Messages in the archive of each owner."""

_USERS = [f"owner{n}" for n in range(4)]
_OWNER = f"{_USERS[0]}@{HOST}"
_PEERS = 500
_INSERTS = 300
_PAGE = 50
_ROUNDS = 40
_WARM_UP = 3
_STARTS = 6
"""Of the services: what they have read before is forgotten."""
_NEWS = 20
"""Messages that came between two inboxes."""
_MARKERS = 5
"""One message in so many is a displayed marker."""
_ASKED_PAGE, _ASKED_INBOX = "first page, as a client sees it", "first inbox, as a client sees it"
_INBOX = f"<inbox xmlns='{INBOX}'><set xmlns='{RSM}'><max>{_PAGE}</max></set></inbox>"

Read = Callable[[Archive], Awaitable[object]]


async def measure(messages: int, seed: int, directory: Path) -> Table:
    """Read pages and inboxes in turn; CPU is that of the process with its engine.

    First by an archive reader, then by clients, behind Prosody.
    """
    ours = Ours(directory / "ours")
    given = settings.load(ours.settings)
    store = await asyncio.to_thread(_fill, given, messages, seed)
    gc_tuning.tune()  # as the query service does
    reader = ArchiveReader(store, Sealer(given.id_key_list), FOREVER)
    timings = await _alternate(reader, await _reads(reader))
    await reader.close()
    store.close()
    return _table(timings, await _serve(ours), messages, seed)


def _table(
    timings: Mapping[str, Sequence[tuple[float, float]]],
    asked: Mapping[str, Sequence[float]],
    messages: int,
    seed: int,
) -> Table:
    (_, page_p50, page_cpu), (_, _, first_cpu), (_, inbox_p50, inbox_cpu) = rows = [
        (name, *(1000 * median(column) for column in zip(*seconds, strict=True)))
        for name, seconds in timings.items()
    ]
    seen: list[list[Cell]] = [[name, 1000 * median(those), ""] for name, those in asked.items()]
    first = median(asked[_ASKED_INBOX]) / median(asked[_ASKED_PAGE])
    return Table(
        part="inbox",
        title=f"The inbox beside a page, each of {_PAGE}",
        load=f"{len(_USERS)} archives of {messages:,} messages with {_PEERS} conversations over a "
        f"year, one in {_MARKERS} a marker, as {_INSERTS} inserts and merges left them; an inbox "
        f"that the query service has read before, and {_NEWS} messages later; medians of {_ROUNDS} "
        f"alternating reads; end to end by each owner behind each of {_STARTS} starts, in turn "
        f"the page first and the inbox; seed {seed}",
        columns=("read", "p50 ms", "CPU ms"),
        rows=[*rows, *seen],
        drawn=("p50 ms", "CPU ms"),
        targets=[
            Target("times a page's time, first, as a client sees it", first, 2, least=False),
            Target("times a page's CPU, first", first_cpu / page_cpu, 2, least=False),
            Target("times a page's p50, later", inbox_p50 / page_p50, 2, least=False),
            Target("times a page's CPU, later", inbox_cpu / page_cpu, 2, least=False),
        ],
    )


async def _serve(ours: Ours) -> dict[str, list[float]]:
    """Return the seconds of owners' first pages and first inboxes behind a start."""
    asked: dict[str, list[float]] = {_ASKED_PAGE: [], _ASKED_INBOX: []}
    try:
        await ours.serve(_USERS)
        for number in range(_STARTS):
            await ours.restart()
            sessions = await open_sessions(ours.prosody, _USERS)
            for place, session in enumerate(sessions.values()):
                await _ask(session, asked, inbox_first=(number + place) % 2 == 0)
                await session.close()
    finally:
        await ours.stop()
    return asked


async def _ask(session: RawSession, asked: Mapping[str, list[float]], *, inbox_first: bool) -> None:
    """Ask for a page and the inbox; the second finds what the first has left in memory."""
    if inbox_first:
        asked[_ASKED_INBOX].append(await ask(session, _INBOX, "get"))
        await ask(session, LAST_PAGE.markup(str))
    else:
        asked[_ASKED_PAGE].append(await ask(session, LAST_PAGE.markup(str)))
        await ask(session, _INBOX, "get")


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
    while some := list(islice(rows, max(1, len(_USERS) * messages // _INSERTS))):
        store.insert(some)
    pages.settle(store)
    # As a processor does: whose archive may have something hidden is kept in memory.
    Erasures(store).complete()
    return store


def _rows(messages: int, seed: int) -> Iterator[Row]:
    """Yield messages of all owners in order of time; to peers of low numbers most is said."""
    chance = random.Random(seed)  # noqa: S311  # a seed repeats the archive
    archives = [_archive(user, messages, chance) for user in _USERS]
    for rows in zip(*archives, strict=True):
        yield from rows


def _archive(user: str, messages: int, chance: random.Random) -> Iterator[Row]:
    owner, end = f"{user}@{HOST}", int(1000 * time.time())
    last: dict[str, int] = {}
    for n, text in enumerate(bodies(messages, chance.getrandbits(32))):
        peer = f"peer{int(_PEERS * chance.random() ** 2)}@{HOST}"
        position = from_milliseconds(end - YEAR + n * YEAR // messages)
        if chance.randrange(_MARKERS) == 0 and peer in last:
            marker = f"<displayed xmlns='urn:xmpp:chat-markers:0' id='m{last[peer]}'/>"
            yield _row(owner, n, position, peer, marker)
        else:
            incoming = chance.choices((True, False), (2, 1))[0]
            yield _row(owner, n, position, peer, f"<body>{text}</body>", incoming=incoming)
            if incoming:
                last[peer] = n


def _row(  # noqa: PLR0913  # the columns of a row
    owner: str, number: int, position: int, peer: str, content: str, *, incoming: bool = False
) -> Row:
    sender, receiver = (f"{peer}/phone", owner) if incoming else (f"{owner}/phone", peer)
    stanza = (
        f"<message xmlns='jabber:client' id='m{number}' type='chat' to='{receiver}' "
        f"from='{sender}'>{content}</message>"
    )
    resource, direction = ("phone", "in") if incoming else ("", "out")
    return Row(owner, position, peer, resource, direction, "chat", stanza)

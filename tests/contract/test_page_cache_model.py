"""Pages from memory equal those of the store, whatever happens to the archive in between."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processor.batch import Batch, Rules, assemble, decode_records
from processor.policy import Policy
from processor.sink import Sink
from query import cached_archive, page_cache
from query.cached_archive import CachedArchive
from query.change_feed import ChangeFeed
from query.page_cache import PageCache
from query.request import Request
from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from stanzalake.log.base import Record
from stanzalake.model.event import (
    VERSION,
    Erasure,
    Event,
    OwnRetention,
    Preferences,
    Tombstone,
    encode,
)
from stanzalake.model.page import Archive, Page, Selection
from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import Retention
from stanzalake.store import migrations
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.changes import Changes
from stanzalake.store.client import Row, Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.histories import Histories
from tests.support.archives import SEALER, START, open_archive
from tests.support.events import ROMEO, message, stanza
from tests.support.settings import load
from tests.support.wait import until

NURSE = "nurse@capulet.lit"
RULES = Rules(Policy("true", smart=False), DEFAULT_EXCLUSIONS)
RETENTION = Retention(100)
"""Seconds."""
_numbers = itertools.count()


class Killed(Exception):  # no error: what happens to a process
    """A process is killed."""


class Say(NamedTuple):
    """A message, `seconds` after the last event; an unlucky one becomes a dead letter."""

    peer: str
    seconds: int
    is_rejected: bool = False


class Prefer(NamedTuple):
    """Preferences, which the query service appends to the log."""

    default: Literal["always", "never"]


class Erase(NamedTuple):
    """An erasure of the messages with a peer in the last seconds, by a command or by Prosody."""

    by_command: bool
    peer: str
    seconds: int


class Choose(NamedTuple):
    """The owner's choice of how many seconds to keep messages; 0 for all."""

    seconds: int


class Retract(NamedTuple):
    """A retraction of Romeo's messages, which all have the same id."""


class Process(NamedTuple):
    """A batch of the processor, which may be killed in the middle."""

    events: int
    killed: Literal["", "states", "rows"] = ""


class Import(NamedTuple):
    """Imported messages, so many seconds old; the command may be killed in the middle."""

    seconds: int
    is_killed: bool


class Replay(NamedTuple):
    """Dead letters that an operator replays."""


class Expire(NamedTuple):
    """A removal of messages with another retention than the query service's."""

    seconds: int
    is_awaited: bool


class Restart(NamedTuple):
    """A new start of Prosody or of the query service."""

    of: Literal["prosody", "query"]


class Wait(NamedTuple):
    """Time that passes; a clock may be set back."""

    seconds: int


class Ask(NamedTuple):
    """A request for a page; one that is late was made before the last message."""

    peer: str
    low: int
    limit: int
    backward: bool
    is_late: bool = False


class Turn(NamedTuple):
    """The next page of a client that walks through the archive; behind the last, the first."""

    peer: str
    limit: int
    backward: bool


ALL, DONE = Ask("", -1, 9, backward=False), Process(100)
PEERS = st.sampled_from([ROMEO, NURSE])
ASKS = st.builds(
    Ask,
    st.sampled_from(["", "", ROMEO]),
    st.integers(-1, 40),
    st.integers(0, 6),
    st.booleans(),
    st.sampled_from([False] * 3 + [True]),
)
TURNS = st.builds(Turn, st.sampled_from(["", "", ROMEO]), st.integers(1, 2), st.booleans())
STEPS = st.one_of(
    st.builds(Say, PEERS, st.integers(0, 9), st.sampled_from([False] * 4 + [True])),
    st.builds(Say, PEERS, st.integers(0, 9)),
    st.builds(Prefer, st.sampled_from(["always", "never"])),
    st.builds(Erase, st.booleans(), st.sampled_from(["", ROMEO]), st.integers(0, 30)),
    st.builds(Choose, st.sampled_from([0, 5, 30])),
    st.builds(Retract),
    st.builds(Process, st.integers(1, 5), st.sampled_from(["", "", "states", "rows"])),
    st.builds(Process, st.just(100)),
    st.builds(Import, st.integers(0, 40), st.booleans()),
    st.builds(Replay),
    st.builds(Expire, st.integers(1, 60), st.booleans()),
    st.builds(Restart, st.sampled_from(["prosody", "query"])),
    st.builds(Wait, st.integers(-20, 60)),
    ASKS,
    ASKS,
    ASKS,
    TURNS,
    TURNS,
)


MANY = [Say((ROMEO, NURSE)[n % 2], 5) for n in range(18)]
"""More messages than a snapshot has, also without those of Romeo."""
UP, DOWN = ([Turn("", 1, backward), Turn(ROMEO, 1, backward)] * 3 for backward in (False, True))
"""Walks from the oldest message on, and from the newest."""


@dataclass
class World:
    """Prosody, the log, a processor and a query service around a store.

    Args:
        store: The store.
        owner: Whose archive it is about.
    """

    store: Store
    owner: str
    now: float = START / 1000
    last: int = from_milliseconds(START)
    newest: int = from_milliseconds(START)
    before: int = from_milliseconds(START)
    log: list[Record] = field(default_factory=list)
    committed: int = 0
    rejected: list[Record] = field(default_factory=list)
    unlucky: set[int] = field(default_factory=set)
    is_polled: bool = False
    walks: dict[Turn, Selection] = field(default_factory=dict)
    asked: int = 0
    from_memory: int = 0

    def __post_init__(self) -> None:
        self.sink = Sink(self.store)
        self.reader = ArchiveReader(self.store, SEALER, RETENTION, clock=lambda: self.now)
        self._start_query()

    def _start_query(self) -> None:
        self.feed = ChangeFeed(Changes(self.store), clock=lambda: 0.0)
        self.cache = PageCache(self.reader, SEALER, self.feed, 1 << 20)
        self.is_polled = False

    async def do(self, step: object) -> None:  # noqa: C901, PLR0912  # one line a kind
        """Take a step."""
        match step:
            case Say():
                self._say(step)
            case Prefer():
                event = self._preferences(step.default)
                self._append(event)
            case Erase():
                self._erase(step)
            case Choose():
                self.before, self.newest = self.newest, self._next()
                self._append(self._choice(step.seconds))
            case Retract():
                self.before, self.newest = self.newest, self._next()
                self._append(self._tombstone(self.newest))
            case Process():
                self._process(step)
            case Import():
                await self._import(step)
            case Replay():
                self.log += [r._replace(offset=len(self.log)) for r in self.rejected]
                self.rejected = []
                self._process(Process(len(self.log)))
                self.is_polled = False
            case Expire():
                await self._expire(step)
            case Restart("query"):
                self._start_query()
            case Restart():
                self.newest = self._next()
            case Wait():
                self.now += step.seconds
            case Ask():
                await self._ask(step)
            case Turn():
                await self._turn(step)

    def _next(self) -> int:
        self.last = max(from_milliseconds(int(1000 * self.now)), self.last + 1)
        return self.last

    def _preferences(self, default: Literal["always", "never"]) -> Preferences:
        return Preferences(
            v=VERSION,
            owner=self.owner,
            position=self._next(),
            default=default,
            always=(),
            never=(),
        )

    def _choice(self, seconds: int) -> OwnRetention:
        return OwnRetention(v=VERSION, owner=self.owner, position=self.newest, seconds=seconds)

    def _tombstone(self, position: int) -> Tombstone:
        return Tombstone(
            v=VERSION,
            owner=self.owner,
            position=position,
            peer=ROMEO,
            direction="in",
            message_id="m",
            by=ROMEO,
        )

    def _append(self, event: Event, *, is_rejected: bool = False) -> None:
        if is_rejected:
            self.unlucky.add(len(self.log))
        self.log.append(Record(0, len(self.log), event.owner, encode(event)))

    def _say(self, said: Say) -> None:
        self.now += said.seconds
        self.before, self.newest = self.newest, self._next()
        event = message(self.newest, owner=self.owner, peer=said.peer)
        self._append(event, is_rejected=said.is_rejected)

    def _erase(self, erase: Erase) -> None:
        position = self._next()
        start = max(0, from_milliseconds(int(1000 * (self.now - erase.seconds))))
        event = Erasure(
            v=VERSION,
            owner=self.owner,
            position=position,
            peer=erase.peer,
            start=start,
            end=position,
        )
        self._append(event)
        if erase.by_command:
            self._process(Process(len(self.log)))
            self.is_polled = False
        else:
            self.before, self.newest = self.newest, position

    def _process(self, process: Process) -> None:
        records = self.log[self.committed :][: process.events]
        for record in records:
            if record.offset in self.unlucky:
                self.rejected.append(record._replace(headers=(("replayed", "yes"),)))
        decoded = decode_records(r for r in records if r.offset not in self.unlucky)
        batch = assemble(decoded, self.sink.histories(decoded), RULES, self.sink.earlier)
        with suppress(Killed):
            self._settle(batch, process.killed)
            self.unlucky -= {record.offset for record in records}
            self.committed += len(records)
            return
        self.sink = Sink(self.store)
        self.rejected = [r for r in self.rejected if r.offset not in self.unlucky]

    def _settle(self, batch: Batch, killed: str) -> None:
        if killed == "states":
            erased = {s.owner for s in batch.states if isinstance(s, Erasure)}
            with Changes(self.store).announce(erased):
                Histories(self.store).write(batch.states)
                raise Killed
        self.sink.write_states(batch)
        if killed == "rows":
            with Changes(self.store).announce(batch.replayed):
                self.store.insert(batch.rows)
                raise Killed
        self.sink.write_rows(batch)

    async def _import(self, imported: Import) -> None:
        at = int(1000 * (self.now - imported.seconds))
        row = Row(
            self.owner, from_milliseconds(at, 9), ROMEO, "", "in", "chat", stanza(), f"old-{at}"
        )
        with suppress(Killed), Changes(self.store).announce({self.owner}):
            self.is_polled = False
            await self._ask(ALL)
            self.store.insert([row])
            self.is_polled = imported.is_killed
            if imported.is_killed:
                raise Killed

    async def _expire(self, expire: Expire) -> None:
        deletion = Deletion(self.store, retention=Retention(expire.seconds))
        deletion.confirm()
        now = self.now
        self.store.command(f"SYSTEM STOP MERGES {self.store.table}")
        deletion.step(now)
        self.is_polled = False
        for _ in range(3):  # until a snapshot is large enough
            await self._ask(ALL)
        self.store.command(f"SYSTEM START MERGES {self.store.table}")
        await until(lambda: not deletion.rewrites())
        if expire.is_awaited:
            await until(lambda: not deletion.step(now))
            self.is_polled = False

    async def _ask(self, ask: Ask) -> None:
        """Compare the answers from memory and from the store."""
        newest = self.before if ask.is_late else self.newest
        cached, stored = await self._open(newest)
        selection = self._selection(ask, newest)
        assert await _answers(cached, selection, ask) == await _answers(stored, selection, ask)
        if not ask.is_late:
            assert await cached.conversations({}) == await stored.conversations({})

    async def _turn(self, turn: Turn) -> None:
        """Compare the next page of a walk, and its count."""
        cached, stored = await self._open(self.newest)
        everything = Selection(peer=turn.peer)
        window = self.walks.get(turn, everything)
        page, counted = await _turn(cached, everything, window, turn)
        assert (page, counted) == await _turn(stored, everything, window, turn)
        self.walks[turn] = _next_window(page, window, turn) if page.more else everything

    async def _open(self, newest: int) -> tuple[Archive, Archive]:
        """Open the archive as the query service does, and the one in the store."""
        # A tap's own events need no poll: the request says that there are some.
        if not self.is_polled:
            await self.feed.poll()
            self.is_polled = True
        request = Request("capulet.lit", self.owner, self.owner, None, newest=newest)
        current = self.committed == len(self.log)
        cached = await open_archive(self.cache, request, current=current)
        self.asked += 1
        self.from_memory += isinstance(cached, CachedArchive)
        return cached, self.reader.archive(self.owner)

    def _selection(self, ask: Ask, newest: int) -> Selection:
        low = max(0, from_milliseconds(int(1000 * (self.now - ask.low)))) if ask.low >= 0 else 0
        # What came behind a late request it may show or not.
        return Selection(low=low, high=newest, peer=ask.peer)


async def _answers(archive: Archive, selection: Selection, ask: Ask) -> Sequence[object]:
    page = await archive.read(selection, ask.limit, backward=ask.backward)
    places = frozenset(item.position for item in page.items)
    return page, await archive.count(selection, 1 << 62), await archive.stored(places | {5})


async def _turn(
    archive: Archive, everything: Selection, window: Selection, turn: Turn
) -> tuple[Page, tuple[int, int] | None]:
    below = window.high + 1 if turn.backward else window.low
    page, counted = await asyncio.gather(
        archive.read(window, turn.limit, backward=turn.backward), archive.count(everything, below)
    )
    return page, counted


def _next_window(page: Page, window: Selection, turn: Turn) -> Selection:
    if turn.backward:
        return replace(window, high=page.items[0].position - 1)
    return replace(window, low=page.items[-1].position + 1)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    store = Store("chdb://:memory:", "page_cache_model")
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    yield store
    store.close()


@pytest.mark.timeout(300)
@given(st.lists(STEPS, min_size=4, max_size=20))
@example([Say(ROMEO, 0), DONE, ALL, Erase(True, "", 30), ALL])
@example([Say(ROMEO, 0), DONE, ALL, Erase(False, "", 30), ALL, DONE, ALL])
@example([Say(ROMEO, 0), DONE, ALL, Retract(), DONE, ALL])
@example([Say(ROMEO, 0), Say(ROMEO, 9), DONE, ALL, Choose(5), DONE, ALL, Choose(0), DONE, ALL])
@example([Say(ROMEO, 0), DONE, ALL, Import(9, is_killed=True), ALL])
@example([Restart("prosody"), Import(0, is_killed=False), ALL])
@example([Say(ROMEO, 0), Say(ROMEO, 9, True), DONE, ALL, Replay(), ALL])
@example([Say(ROMEO, 0), Say(ROMEO, 9), DONE, ALL, Expire(5, False), ALL, ALL])
@example([Say(ROMEO, 0), DONE, Wait(101), Say(ROMEO, 0), DONE, ALL, Wait(-20), ALL])
@example([Say(ROMEO, 0), DONE, Say(ROMEO, 0), DONE, ALL._replace(is_late=True), ALL])
@example([*MANY, DONE, *UP, Erase(True, ROMEO, 90), *UP])
@example([*MANY, DONE, *UP, Erase(False, ROMEO, 90), DONE, *UP])
@example([*MANY, DONE, *DOWN, Retract(), DONE, *DOWN])
@example([*MANY, DONE, *UP, Import(70, is_killed=False), *UP])
@example([*MANY, DONE, *UP, Wait(20), *UP, Wait(-20), *UP])
@example([*MANY, DONE, *DOWN, Wait(20), *DOWN, Wait(-20), *DOWN])
@example([*MANY, DONE, *DOWN, Choose(50), DONE, *DOWN, Choose(0), DONE, *DOWN])
@example([*MANY, DONE, *UP, Expire(60, is_awaited=False), *UP])
@settings(max_examples=8)
def test_pages_and_inboxes_from_memory_equal_those_of_the_store(
    store: Store, steps: Sequence[object]
) -> None:
    store.command(f"TRUNCATE TABLE {store.table}")
    store.command(f"TRUNCATE TABLE {store.table}_changes")
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(page_cache, "FIRST_MESSAGES", 3)
        bounds.setattr(page_cache, "SNAPSHOT_MESSAGES", 6)
        bounds.setattr(cached_archive, "_FEW", 3)
        bounds.setattr(cached_archive, "AHEAD_MESSAGES", 5)
        asyncio.run(run(World(store, f"juliet-{next(_numbers)}@capulet.lit"), [*steps, DONE, ALL]))


async def run(world: World, steps: Sequence[object]) -> None:
    for step in steps:
        await world.do(step)
    await world.reader.close()
    assert world.from_memory or world.asked < 2 or _may_be_changing(steps)


def _may_be_changing(steps: Sequence[object]) -> bool:
    """Return whether a killed writer may have left a change open: pages come from the store."""
    return any(
        (isinstance(s, Import) and s.is_killed) or (isinstance(s, Process) and s.killed)
        for s in steps
    )

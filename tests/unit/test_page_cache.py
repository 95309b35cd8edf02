"""A cached archive answers exactly as the store does, whatever part of it the snapshot holds."""

import tracemalloc
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from sys import getsizeof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query import page_cache
from query.page_cache import CachedArchive, PageCache, Snapshot
from query.request import Request
from stanzalake.errors import ResultTooLarge
from stanzalake.model.inbox import ConversationState, Inbox
from stanzalake.model.page import MAX_PAGE, NewestMessages, Selection, StoredMessage
from stanzalake.model.position import MAX_POSITION, Sealer
from stanzalake.store.client import Row
from tests.support.archives import SEALER, MemoryArchive, open_archive, row
from tests.support.events import JULIET, ROMEO

PEERS = ("romeo@montague.lit", "nurse@capulet.lit")
POSITIONS = st.integers(1, 30)
EDGES = st.integers(-1, 32) | st.sampled_from([0, MAX_POSITION])


class AbsentArchive(MemoryArchive):
    """A store that must not be asked for messages."""

    def __init__(self) -> None:
        super().__init__(())

    def _chosen(self, selection: Selection) -> list[Row]:
        raise AssertionError(f"the store was asked for {selection}")

    async def stored(self, positions: Collection[int]) -> frozenset[int]:
        raise AssertionError(f"the store was asked for {positions}")


def message(of: Row) -> StoredMessage:
    return StoredMessage(
        of.position, of.legacy_id, of.stanza, of.peer, of.peer_resource, of.kind == "groupchat"
    )


def snapshot(rows: list[Row], *, kept: int | None = None) -> Snapshot:
    """Take a snapshot of the newest rows, of all by default."""
    if kept is None or kept >= len(rows):
        return Snapshot([message(r) for r in rows], 0, MAX_POSITION, 0)
    newest = rows[len(rows) - kept :]
    floor = newest[0].position if newest else rows[-1].position + 1
    return Snapshot([message(r) for r in newest], floor, MAX_POSITION, 0)


def cached(of: Snapshot, stored: MemoryArchive, oldest: int = 0) -> CachedArchive:
    seal = partial(SEALER.seal, JULIET)
    return CachedArchive(of, stored, seal, partial(summary, stored), oldest, inbox=no_inbox)


async def no_inbox() -> Inbox:
    return Inbox()


async def summary(stored: MemoryArchive, selection: Selection) -> tuple[int, int]:
    page = await stored.read(selection, 1000)
    return len(page.items), page.items[0].position if page.items else 0


@st.composite
def archives(draw: st.DrawFn) -> list[Row]:
    return [
        row(
            position,
            peer=draw(st.sampled_from(PEERS)),
            peer_resource=draw(st.sampled_from(["", "a"])),
            kind=draw(st.sampled_from(["chat", "groupchat"])),
            legacy_id=draw(st.sampled_from(["", f"old-{position}"])),
        )
        for position in sorted(draw(st.sets(POSITIONS, max_size=12)))
    ]


SELECTIONS = st.builds(
    Selection,
    low=EDGES,
    high=EDGES,
    peer=st.sampled_from(["", *PEERS]),
    resource=st.sampled_from(["", "a"]),
    groupchat=st.booleans(),
    positions=st.none() | st.frozensets(POSITIONS, max_size=4),
)


@given(
    rows=archives(),
    kept=st.integers(0, 12),
    oldest=st.integers(0, 32),
    selection=SELECTIONS,
    limit=st.integers(0, 6),
    backward=st.booleans(),
    skip=st.integers(0, 6),
)
async def test_a_page_from_a_snapshot_equals_that_of_the_store(  # noqa: PLR0913, PLR0917
    rows: list[Row],
    kept: int,
    oldest: int,
    selection: Selection,
    limit: int,
    backward: bool,
    skip: int,
) -> None:
    stored = MemoryArchive(rows, oldest=oldest)
    archive = cached(snapshot(rows, kept=kept), stored, oldest)
    skip = 0 if backward else skip
    expected = await stored.read(selection, limit, backward=backward, skip=skip)
    assert await archive.read(selection, limit, backward=backward, skip=skip) == expected


@given(
    rows=archives(),
    kept=st.integers(0, 12),
    oldest=st.integers(0, 32),
    selection=SELECTIONS,
    below=EDGES,
    positions=st.frozensets(POSITIONS, max_size=4),
)
async def test_counts_and_positions_from_a_snapshot_equal_those_of_the_store(  # noqa: PLR0913, PLR0917
    rows: list[Row],
    kept: int,
    oldest: int,
    selection: Selection,
    below: int,
    positions: frozenset[int],
) -> None:
    stored = MemoryArchive(rows, oldest=oldest)
    archive = cached(snapshot(rows, kept=kept), stored, oldest)
    assert await archive.count(selection, below) == await stored.count(selection, below)
    assert await archive.stored(positions) == await stored.stored(positions)


@given(rows=archives(), selection=SELECTIONS, limit=st.integers(0, 6), backward=st.booleans())
async def test_a_whole_snapshot_never_asks_the_store(
    rows: list[Row], selection: Selection, limit: int, backward: bool
) -> None:
    archive = cached(snapshot(rows), AbsentArchive())
    await archive.read(selection, limit, backward=backward)
    await archive.count(selection, 5)
    await archive.stored({1, 2})


async def test_messages_by_position_are_not_read_from_the_store_if_the_snapshot_has_all() -> None:
    rows = [row(position) for position in range(1, 9)]
    archive = cached(snapshot(rows, kept=4), AbsentArchive())
    selection = Selection(positions=frozenset({5, 8}))
    page = await archive.read(selection, 2)
    assert ([item.position for item in page.items], page.more) == ([5, 8], False)
    with pytest.raises(AssertionError):
        await archive.read(Selection(positions=frozenset({4, 8})), 2)


@given(rows=archives(), kept=st.integers(0, 6), new=st.sets(st.integers(40, 60), max_size=8))
def test_an_extended_snapshot_equals_a_new_one(rows: list[Row], kept: int, new: set[int]) -> None:
    added = [row(position) for position in sorted(new)]
    extended = snapshot(rows, kept=kept).extend([message(r) for r in added], MAX_POSITION)
    whole = snapshot([*rows, *added], kept=min(kept, len(rows)) + len(added))
    assert extended.messages == whole.messages
    assert extended.floor <= 40


def test_a_snapshot_keeps_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    many = replace(snapshot([row(position) for position in range(1, 6)]), limit=3).cut()
    assert [m.position for m in many.messages] == [3, 4, 5]
    assert many.floor == 3
    monkeypatch.setattr(page_cache, "SNAPSHOT_BYTES", getsizeof("x" * 10))
    large = snapshot([row(1, stanza="x" * 11), row(2, stanza="x" * 10)]).cut()
    assert [m.position for m in large.messages] == [2]
    none = snapshot([row(1, stanza="x" * 11)]).cut()
    assert (none.messages, none.floor) == ([], 2)


async def test_a_snapshot_takes_no_more_memory_than_it_counts() -> None:
    tracemalloc.start()
    try:
        whole = snapshot([row(1 << 60 | n, stanza=f"{n:0300}", peer=f"{n}@a") for n in range(300)])
        assert len((await cached(whole, AbsentArchive()).read(Selection(), 300)).items) == 300
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(whole.ids) == 300
    assert taken <= whole.size


async def test_a_snapshot_forgets_the_ids_of_the_messages_that_it_drops() -> None:
    whole = snapshot([row(position) for position in range(1, 6)])
    await cached(whole, AbsentArchive()).read(Selection(), 5)
    assert list(replace(whole, limit=3).cut().ids) == [3, 4, 5]


async def test_a_page_from_a_snapshot_is_bounded_in_bytes() -> None:
    rows = [row(position, stanza="x" * (MAX_PAGE // 2)) for position in range(1, 5)]
    page = await cached(snapshot(rows), AbsentArchive()).read(Selection(), 4)
    assert ([item.position for item in page.items], page.more) == ([1, 2], True)


class CountedChanges:
    """Changes of Juliet's archive.

    Attributes:
        number: Of the last change, as polled; None during one, or if it is unknown.
        next_number: As the next poll will find it.
        horizon: The position below which messages may be vanishing.
    """

    def __init__(self) -> None:
        self.number: int | None = 0
        self.next_number: int | None = 0
        self.horizon = 0

    def read(self, owner: str) -> int | None:
        assert owner == JULIET
        return self.number

    async def refresh(self, owner: str) -> int | None:
        assert owner == JULIET
        self.number = self.next_number
        return self.number


class CountedStore:
    """Archives in memory that count how often they are read for a snapshot.

    Attributes:
        rows: The rows of Juliet's archive.
        reads: For each read, the position from which on messages were read.
        changes: The announced changes.
        oldest: The retention horizon.
        inboxes: For each read of an inbox, the position behind which messages were read.
        own: The owner's own retention, in positions.
        now: The position of the moment.
    """

    def __init__(self, *positions: int) -> None:
        self.rows = [row(position) for position in positions]
        self.inboxes: list[int] = []
        self.reads: list[int] = []
        self.changes = CountedChanges()
        self.oldest = 0
        self.own = 0
        self.now = 0
        self.counts = 0
        self.is_too_large = False

    def archive(self, owner: str) -> MemoryArchive:
        return MemoryArchive(self.rows, owner, self.oldest)

    async def own_retention(self, _owner: str) -> int:
        assert self.own, "asked although nothing is hidden"
        return self.own

    def horizon(self, _owner: str, own: int = 0) -> int:
        return max(self.oldest, self.now - own if own else 0)

    async def newest(self, owner: str, low: int, limit: int) -> NewestMessages:
        assert owner == JULIET
        self.reads.append(low)
        if self.is_too_large:
            raise ResultTooLarge("too large")
        messages = [message(r) for r in self.rows if r.position >= low][-limit:]
        floor = messages[0].position if len(messages) == limit else 0
        return NewestMessages(messages, is_plain=not self.own, floor=floor)

    async def inbox(self, owner: str, known: Inbox, up_to: int) -> Inbox:
        assert owner == JULIET
        self.inboxes.append(known.up_to)
        newest = max(r.position for r in self.rows if r.position <= up_to)
        return Inbox({ROMEO: ConversationState(newest)}, 0, up_to)

    async def summarise(self, owner: str, selection: Selection) -> tuple[int, int]:
        assert owner == JULIET
        self.counts += 1
        return await summary(MemoryArchive(self.rows), selection)


async def positions(
    cache: PageCache, newest: int | None, *, current: bool = True
) -> tuple[bool, list[int]]:
    """Read an archive; return whether a snapshot was used, and the positions."""
    request = Request("capulet.lit", JULIET, JULIET, None, newest=newest)
    archive = await open_archive(cache, request, current=current)
    page = await archive.read(Selection(), 100)
    return isinstance(archive, CachedArchive), [item.position for item in page.items]


def cache_of(store: CountedStore, limit: int = 1 << 20) -> PageCache:
    return PageCache(store, SEALER, store.changes, limit)


async def test_a_snapshot_is_loaded_once_and_extended_by_newer_messages_alone() -> None:
    store = CountedStore(1, 2)
    cache = cache_of(store)
    assert await positions(cache, 2) == (True, [1, 2])
    assert await positions(cache, 2) == (True, [1, 2])
    store.rows.append(row(5))
    assert await positions(cache, 5) == (True, [1, 2, 5])
    assert store.reads == [0, 3]


class CountedSealer(Sealer):
    """A sealer.

    Attributes:
        sealed: The positions that it sealed, in order.
    """

    def __init__(self) -> None:
        super().__init__(["k" * 32])
        self.sealed: list[int] = []

    def seal(self, owner: str, position: int) -> str:
        self.sealed.append(position)
        return super().seal(owner, position)


async def test_a_position_is_sealed_once_while_a_snapshot_has_its_message() -> None:
    store, sealer = CountedStore(1, 2), CountedSealer()
    cache = PageCache(store, sealer, store.changes, 1 << 20)
    assert await positions(cache, 2) == await positions(cache, 2) == (True, [1, 2])
    store.rows.append(row(5))
    assert await positions(cache, 5) == (True, [1, 2, 5])
    assert sealer.sealed == [1, 2, 5]


async def test_messages_above_the_bound_of_a_snapshot_are_read_again() -> None:
    store = CountedStore(1, 9)  # 9 was stored before 7, and is announced later
    cache = cache_of(store)
    assert await positions(cache, 1) == (True, [1, 9])
    store.rows.insert(1, row(7))
    assert await positions(cache, 9) == (True, [1, 7, 9])


@pytest.mark.parametrize("newest", [1, 2])
async def test_an_announced_change_and_a_lower_bound_load_anew(newest: int) -> None:
    store = CountedStore(1, 2, 3)
    cache = cache_of(store)
    await positions(cache, 2)
    del store.rows[0]
    store.changes.number = store.changes.next_number = 1 if newest == 2 else 0
    assert await positions(cache, newest) == (True, [2, 3])
    assert store.reads == [0, 0]


async def test_an_erasure_that_the_tap_stamped_is_heeded_at_once() -> None:
    store = CountedStore(1, 2)
    cache = cache_of(store)
    assert await positions(cache, 2) == (True, [1, 2])
    store.rows.clear()
    store.changes.next_number = 1  # announced, and not polled yet
    assert await positions(cache, 3) == (True, [])


async def test_during_a_change_the_store_is_read() -> None:
    store = CountedStore(1, 2)
    cache = cache_of(store)
    assert await positions(cache, 2) == (True, [1, 2])
    store.rows.clear()
    store.changes.next_number = None
    assert await positions(cache, 3) == (False, [])
    assert await positions(cache, 2) == (False, [])


async def test_messages_that_may_be_vanishing_are_read_from_the_store() -> None:
    store = CountedStore(1, 2, 5)
    cache = cache_of(store)
    assert await positions(cache, 5) == (True, [1, 2, 5])
    store.changes.horizon = 2
    del store.rows[0]
    assert await positions(cache, 5) == (True, [2, 5])
    del store.rows[0]
    store.oldest = store.changes.horizon = 4
    assert await positions(cache, 5) == (True, [5])


async def test_messages_that_a_clock_set_back_brings_back_are_shown() -> None:
    store = CountedStore(1, 2, 5)
    store.oldest = 3
    cache = cache_of(store)
    assert await positions(cache, 5) == (True, [5])
    store.oldest = 2
    assert await positions(cache, 5) == (True, [2, 5])


async def test_nothing_is_cached_without_proof() -> None:
    store = CountedStore(1)
    cache = cache_of(store)
    assert await positions(cache, None) == (False, [1])
    assert await positions(cache, 1, current=False) == (False, [1])
    store.changes.number = None
    assert await positions(cache, 1) == (False, [1])
    assert await positions(cache_of(store, limit=0), 1) == (False, [1])
    store.changes.number, store.is_too_large = 0, True
    assert await positions(cache, 1) == (False, [1])


async def test_requests_beyond_the_first_snapshot_have_a_larger_one_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_cache, "FIRST_MESSAGES", 2)
    store = CountedStore(1, 2, 3, 4)
    cache = cache_of(store)
    for _ in range(4):
        assert await positions(cache, 4) == (True, [1, 2, 3, 4])  # from the store
    assert store.reads == [0]
    assert await positions(cache, 4) == (True, [1, 2, 3, 4])
    assert await positions(cache, 4) == (True, [1, 2, 3, 4])
    assert store.reads == [0, 0]


async def test_a_snapshot_may_be_dropped_while_a_larger_one_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_cache, "FIRST_MESSAGES", 2)
    store = CountedStore(1, 2, 3, 4)
    cache = cache_of(store)
    for _ in range(4):
        await positions(cache, 4)
    newest = store.newest

    async def drop_first(owner: str, low: int, limit: int) -> NewestMessages:
        # As if another archive took the room of this one.
        monkeypatch.setattr(cache, "_snapshots", OrderedDict())
        monkeypatch.setattr(cache, "_misses", {})
        return await newest(owner, low, limit)

    monkeypatch.setattr(store, "newest", drop_first)
    assert await positions(cache, 4) == (True, [1, 2, 3, 4])


async def test_older_messages_are_counted_once_by_their_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_cache, "FIRST_MESSAGES", 2)
    store = CountedStore(1, 2, 3, 4, 5)
    cache = cache_of(store)

    async def count(newest: int, peer: str = "") -> tuple[int, int] | None:
        request = Request("capulet.lit", JULIET, JULIET, None, newest=newest)
        archive = await open_archive(cache, request)
        return await archive.count(Selection(peer=peer), newest)

    assert [await count(5), await count(5, ROMEO), await count(5, "x")] == [(5, 4), (5, 4), (0, 0)]
    assert store.counts == 3
    store.rows.append(row(6))
    assert [await count(6), await count(6, ROMEO), await count(6, "x")] == [(6, 5), (6, 5), (0, 0)]
    store.oldest = 1
    assert await count(6) == (6, 5)
    assert store.counts == 3
    del store.rows[0]
    store.oldest = 2
    assert await count(6) == (5, 4)
    assert store.counts == 4


async def test_snapshots_beyond_the_limit_are_dropped() -> None:
    store = CountedStore(1)
    cache = cache_of(store, limit=10)
    assert await positions(cache, 1) == (False, [1])
    assert await positions(cache, 1) == (False, [1])
    assert store.reads == [0, 0]


async def test_a_snapshot_that_is_out_of_date_once_its_turn_comes_is_not_used() -> None:
    store = CountedStore(1, 2)
    cache = cache_of(store)
    request = Request("capulet.lit", JULIET, JULIET, None, newest=2)
    assert await cache.prepare(request, current=True)
    del store.rows[0]
    store.changes.number = store.changes.next_number = 1
    archive = await cache.archive(request, current=True)
    assert [item.position for item in (await archive.read(Selection(), 100)).items] == [2]
    assert store.reads == [0, 0]


@given(
    kept=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=8),
)
async def test_a_snapshot_follows_an_archive_that_grows_and_changes(
    kept: int, steps: list[tuple[int, bool]]
) -> None:
    store, newest = CountedStore(), 0
    cache = cache_of(store)
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(page_cache, "FIRST_MESSAGES", kept)
        bounds.setattr(page_cache, "SNAPSHOT_MESSAGES", 2 * kept)
        for added, is_changed in steps:
            for _ in range(added):
                newest += 1
                store.rows.append(row(newest))
            if is_changed and store.rows:
                del store.rows[0]
                store.changes.next_number = (store.changes.number or 0) + 1
                store.changes.number = store.changes.next_number
            expected = [r.position for r in store.rows]
            assert (await positions(cache, newest))[1] == expected


async def test_an_inbox_is_extended_until_the_archive_changes() -> None:
    store = CountedStore(10, 20)
    cache = cache_of(store)

    async def newest(bound: int) -> int:
        request = Request("capulet.lit", JULIET, JULIET, None, newest=bound)
        archive = await open_archive(cache, request)
        [conversation] = await archive.conversations({})
        return conversation.newest

    assert await newest(25) == 20
    store.rows.append(row(30))
    assert await newest(35) == 30
    assert store.inboxes == [-1, 25]
    store.changes.number = store.changes.next_number = 1
    assert await newest(35) == 30
    assert store.inboxes == [-1, 25, -1]

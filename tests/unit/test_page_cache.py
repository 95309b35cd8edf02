"""The page cache opens archives from snapshots that are proven current, else from the store."""

import asyncio
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query import cached_archive, page_cache
from query.cached_archive import CachedArchive
from query.page_cache import PageCache
from query.request import Request
from stanzalake.errors import ResultTooLarge
from stanzalake.model.inbox import ConversationState, Inbox
from stanzalake.model.page import Archive, NewestMessages, Page, Selection
from stanzalake.model.position import Sealer
from tests.support.archives import SEALER, MemoryArchive, open_archive, row
from tests.support.events import JULIET, ROMEO
from tests.support.snapshots import stored_message, summary
from tests.support.wait import until


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

    async def current(self, owner: str) -> int | None:
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
        tells_counts: Whether the older messages are counted with the newest.
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
        self.tells_counts = False

    def archive(self, owner: str) -> MemoryArchive:
        return MemoryArchive(self.rows, owner, self.horizon(owner, self.own))

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
        first = max(low, self.horizon(owner, self.own))
        found = [stored_message(r) for r in self.rows if r.position >= first]
        older, messages = found[:-limit], found[-limit:]
        floor = messages[0].position if len(messages) == limit else 0
        counted = (len(older), older[0].position if older else 0)
        counts = {Selection(): counted} if self.tells_counts else {}
        return NewestMessages(messages, not self.own, floor, counts)

    async def inbox(self, owner: str, known: Inbox, up_to: int, own: int = 0) -> Inbox:
        assert owner == JULIET
        self.inboxes.append(known.up_to)
        oldest, shown = self.horizon(owner, own), self.horizon(owner, self.own)
        if known.extends_to(oldest) and known.up_to >= up_to:
            return known
        newest = max((r.position for r in self.rows if shown <= r.position <= up_to), default=0)
        return Inbox({ROMEO: ConversationState(newest)}, oldest, up_to)

    async def summarise(self, owner: str, selection: Selection, below: int) -> tuple[int, int, int]:
        assert owner == JULIET
        self.counts += 1
        return await summary(MemoryArchive(self.rows), selection, below)


async def positions(
    cache: PageCache, newest: int | None, *, current: bool = True
) -> tuple[bool, list[int]]:
    """Read an archive and its count; return whether a snapshot was used, and the positions."""
    request = Request("capulet.lit", JULIET, JULIET, None, newest=newest)
    archive = await open_archive(cache, request, current=current)
    page = await archive.read(Selection(), 100)
    assert await archive.count(Selection(), 0) == (len(page.items), 0)
    return isinstance(archive, CachedArchive), [item.position for item in page.items]


async def miss(cache: PageCache, newest: int) -> None:
    """Ask for four messages one by one that are older than a snapshot, and not in order."""
    request = Request("capulet.lit", JULIET, JULIET, None, newest=newest)
    for position in (1, 5, 3, 7):
        archive = await open_archive(cache, request)
        page = await archive.read(Selection(low=position, high=position), 1)
        assert [item.position for item in page.items] == [position]


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


async def test_messages_that_came_and_expired_unread_are_shown_once_a_clock_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_cache, "FIRST_MESSAGES", 2)
    store = CountedStore(1, 2)
    cache = cache_of(store)
    assert await positions(cache, 2) == (True, [1, 2])
    store.rows += [row(3), row(5)]
    store.oldest = 4
    assert await positions(cache, 5) == (True, [5])
    store.oldest = 0
    assert await positions(cache, 5) == (True, [1, 2, 3, 5])


async def test_messages_that_own_retention_hid_are_shown_once_a_clock_is_set_back() -> None:
    store = CountedStore(10, 20)
    store.own, store.now = 15, 40
    cache = cache_of(store)
    assert await positions(cache, 25) == (True, [])
    store.now = 30
    assert await positions(cache, 25) == (True, [20])
    store.rows.append(row(40))
    store.now = 70
    assert await positions(cache, 45) == (True, [])
    store.now = 30
    assert await positions(cache, 45) == (True, [20, 40])


async def test_counts_that_come_with_a_snapshot_are_those_of_all_older_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_cache, "FIRST_MESSAGES", 2)
    store = CountedStore(*range(1, 10))
    store.oldest, store.tells_counts = 3, True
    cache = cache_of(store)
    assert await positions(cache, 9) == (True, [*range(3, 10)])
    store.oldest = 2
    assert await positions(cache, 9) == (True, [*range(2, 10)])
    store.rows += [row(position) for position in range(10, 15)]
    assert await positions(cache, 14) == (True, [*range(2, 15)])


async def test_an_extended_snapshot_takes_the_room_of_the_former_one() -> None:
    store = CountedStore(1)
    cache = cache_of(store, limit=4000)
    for newest in range(1, 20):
        assert await positions(cache, newest) == (True, [1])
    assert store.reads == [0, *range(2, 20)]


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
    store = CountedStore(*range(1, 10))
    cache = cache_of(store)
    await miss(cache, 9)
    assert store.reads == [0]
    assert await positions(cache, 9) == (True, [*range(1, 10)])
    assert await positions(cache, 9) == (True, [*range(1, 10)])
    assert store.reads == [0, 0]


async def open_small(monkeypatch: pytest.MonkeyPatch) -> tuple[CountedStore, PageCache, Archive]:
    """Open an archive whose snapshot lacks a few messages that are known to be there."""
    monkeypatch.setattr(page_cache, "FIRST_MESSAGES", 2)
    store = CountedStore(*range(1, 10))
    store.tells_counts = True
    cache = cache_of(store)
    request = Request("capulet.lit", JULIET, JULIET, None, newest=9)
    return store, cache, await open_archive(cache, request)


async def test_a_small_archive_is_loaded_whole_for_the_first_request_beyond_its_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, cache, archive = await open_small(monkeypatch)
    page, counted = await asyncio.gather(
        archive.read(Selection(low=3), 2), archive.count(Selection(peer=ROMEO), 3)
    )
    assert ([item.position for item in page.items], counted) == ([3, 4], (9, 2))
    assert await positions(cache, 9) == (True, [*range(1, 10)])
    assert (store.reads, store.counts) == ([0, 0], 0)


async def test_a_small_archive_that_is_loaded_whole_does_not_replace_a_newer_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, cache, archive = await open_small(monkeypatch)
    later = row(10)
    store.rows.append(later)
    assert await positions(cache, 10) == (True, [*range(1, 11)])
    store.rows.remove(later)
    page = await archive.read(Selection(low=3), 2)
    assert [item.position for item in page.items] == [3, 4]
    assert await positions(cache, 10) == (True, [*range(1, 11)])


async def test_a_snapshot_may_be_dropped_while_a_larger_one_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_cache, "FIRST_MESSAGES", 2)
    store = CountedStore(*range(1, 10))
    cache = cache_of(store)
    await miss(cache, 9)
    newest = store.newest

    async def drop_first(owner: str, low: int, limit: int) -> NewestMessages:
        # As if another archive took the room of this one.
        monkeypatch.setattr(cache, "_snapshots", OrderedDict())
        monkeypatch.setattr(cache, "_misses", {})
        return await newest(owner, low, limit)

    monkeypatch.setattr(store, "newest", drop_first)
    assert await positions(cache, 9) == (True, [*range(1, 10)])


class SlowArchive(MemoryArchive):
    """An archive whose pages arrive once `may_answer` is set."""

    may_answer = asyncio.Event()

    async def read(
        self, selection: Selection, limit: int, *, backward: bool = False, skip: int = 0
    ) -> Page:
        page = await super().read(selection, limit, backward=backward, skip=skip)
        await self.may_answer.wait()
        return page


async def test_what_was_read_before_a_change_is_not_kept_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_cache, "FIRST_MESSAGES", 2)
    store = CountedStore(*range(1, 10))
    slow = SlowArchive(store.rows)
    cache = cache_of(store)
    request = Request("capulet.lit", JULIET, JULIET, None, newest=9)
    monkeypatch.setattr(store, "archive", lambda _owner: slow)
    before = await open_archive(cache, request)
    reading = asyncio.create_task(before.read(Selection(), 3))
    await asyncio.sleep(0)
    monkeypatch.undo()
    monkeypatch.setattr(page_cache, "FIRST_MESSAGES", 2)
    del store.rows[1]
    store.changes.number = store.changes.next_number = 1
    after = await open_archive(cache, request)
    slow.may_answer.set()
    assert [item.position for item in (await reading).items] == [1, 2, 3]
    assert [item.position for item in (await after.read(Selection(), 3)).items] == [1, 3, 4]


async def test_what_is_read_ahead_counts_in_the_limit_of_all_snapshots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_cache, "FIRST_MESSAGES", 2)
    store = CountedStore(*range(1, 100))
    request = Request("capulet.lit", JULIET, JULIET, None, newest=99)
    cache = cache_of(store, limit=30_000)
    archive = await open_archive(cache, request)
    await archive.read(Selection(), 3)
    await open_archive(cache, request)
    assert store.reads == [0]
    await archive.read(Selection(), 90)  # more than the limit
    await open_archive(cache, request)
    assert store.reads == [0, 0]


async def test_older_messages_are_counted_once_by_their_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_cache, "FIRST_MESSAGES", 2)
    monkeypatch.setattr(cached_archive, "_FEW", 0)
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


@pytest.mark.parametrize("beside", [False, True])
async def test_an_inbox_shows_what_a_clock_set_back_brings_back(beside: bool) -> None:
    store = CountedStore(10, 20)
    store.own = 15
    cache = cache_of(store)
    request = Request("capulet.lit", JULIET, JULIET, None, newest=25)
    for store.now, expected in ((40, []), (30, [20])):
        archive = await open_archive(cache, request, inbox=beside)
        assert [c.newest for c in await archive.conversations({})] == expected


async def test_a_first_inbox_is_read_beside_its_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    store = CountedStore(10, 20)
    cache = cache_of(store)
    begun, load = asyncio.Event(), store.newest

    async def newest(owner: str, low: int, limit: int) -> NewestMessages:
        async with asyncio.timeout(10):
            await begun.wait()
        return await load(owner, low, limit)

    async def inbox(_owner: str, known: Inbox, up_to: int, _own: int = 0) -> Inbox:
        store.inboxes.append(known.up_to)
        begun.set()
        return Inbox({ROMEO: ConversationState(20)}, 0, up_to)

    monkeypatch.setattr(store, "newest", newest)
    monkeypatch.setattr(store, "inbox", inbox)
    request = Request("capulet.lit", JULIET, JULIET, None, newest=25)
    archive = await open_archive(cache, request, inbox=True)
    assert [c.newest for c in await archive.conversations({})] == [20]
    assert store.inboxes == [-1, 25]  # then from its end on, where there is nothing


async def test_an_inbox_from_before_a_change_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    store = CountedStore(10, 20)
    cache = cache_of(store)
    read = store.inbox

    async def inbox(owner: str, known: Inbox, up_to: int, own: int = 0) -> Inbox:
        found = await read(owner, known, up_to, own)
        if len(store.inboxes) == 1:
            store.rows.pop()
            store.changes.number = store.changes.next_number = 1
        return found

    monkeypatch.setattr(store, "inbox", inbox)
    request = Request("capulet.lit", JULIET, JULIET, None, newest=25)
    archive = await open_archive(cache, request, inbox=True)
    assert [c.newest for c in await archive.conversations({})] == [10]


async def test_a_late_inbox_is_not_kept_with_the_snapshot_of_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = CountedStore(10, 20)
    cache = cache_of(store)
    held, read = asyncio.Event(), store.inbox

    async def inbox(owner: str, known: Inbox, up_to: int, own: int = 0) -> Inbox:
        if known.up_to >= up_to:
            return known
        found = await read(owner, known, up_to, own)
        await held.wait()
        return found

    monkeypatch.setattr(store, "inbox", inbox)
    request = Request("capulet.lit", JULIET, JULIET, None, newest=25)
    late = asyncio.create_task(cache.prepare(request, current=True, inbox=True))
    await until(lambda: bool(store.reads and store.inboxes))
    store.rows.pop()
    store.changes.number = store.changes.next_number = 1
    assert await cache.prepare(request, current=True)
    held.set()
    assert await late
    archive = await cache.archive(request, current=True)
    assert [c.newest for c in await archive.conversations({})] == [10]

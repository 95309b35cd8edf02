"""A cached archive answers exactly as the store does, whatever part of it the snapshot holds."""

import asyncio
import tracemalloc
from dataclasses import replace
from sys import getsizeof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query import cached_archive, read_ahead, snapshot
from query.read_ahead import Segment
from query.snapshot import Older, Snapshot
from stanzalake.model.page import MAX_PAGE, Archive, Item, Page, Selection
from stanzalake.model.position import MAX_POSITION
from stanzalake.store.client import Row
from tests.support.archives import MemoryArchive, row
from tests.support.snapshots import (
    EDGES,
    PEERS,
    POSITIONS,
    SELECTIONS,
    AbsentArchive,
    archives,
    cached,
    stored_message,
    take,
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
    archive = cached(take(rows, kept=kept), stored, oldest)
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
    archive = cached(take(rows, kept=kept), stored, oldest)
    assert await archive.count(selection, below) == await stored.count(selection, below)
    assert await archive.stored(positions) == await stored.stored(positions)


@given(rows=archives(), selection=SELECTIONS, limit=st.integers(0, 6), backward=st.booleans())
async def test_a_whole_snapshot_never_asks_the_store(
    rows: list[Row], selection: Selection, limit: int, backward: bool
) -> None:
    archive = cached(take(rows), AbsentArchive())
    await archive.read(selection, limit, backward=backward)
    await archive.count(selection, 5)
    await archive.stored({1, 2})


async def test_messages_by_position_are_not_read_from_the_store_if_the_snapshot_has_all() -> None:
    rows = [row(position) for position in range(1, 9)]
    archive = cached(take(rows, kept=4), AbsentArchive())
    selection = Selection(positions=frozenset({5, 8}))
    page = await archive.read(selection, 2)
    assert ([item.position for item in page.items], page.more) == ([5, 8], False)
    with pytest.raises(AssertionError):
        await archive.read(Selection(positions=frozenset({4, 8})), 2)


@given(rows=archives(), kept=st.integers(0, 6), new=st.sets(st.integers(40, 60), max_size=8))
def test_an_extended_snapshot_equals_a_new_one(rows: list[Row], kept: int, new: set[int]) -> None:
    added = [row(position) for position in sorted(new)]
    extended = take(rows, kept=kept).extend([stored_message(r) for r in added], MAX_POSITION)
    whole = take([*rows, *added], kept=min(kept, len(rows)) + len(added))
    assert extended.messages == whole.messages
    assert extended.floor <= 40


async def test_messages_above_the_bound_that_come_again_are_counted_once() -> None:
    rows = [row(position) for position in range(1, 7)]
    older = {Selection(): Older(4, 1, 0)}
    taken = Snapshot([stored_message(rows[4])], 5, newest=3, change=0, limit=1, older=older)
    extended = taken.extend([stored_message(r) for r in rows[3:]], 6)
    archive = cached(extended, MemoryArchive(rows))
    assert await archive.count(Selection(), 6) == (6, 5)


async def test_a_place_within_a_snapshot_is_counted_anew_once_it_is_below() -> None:
    rows = [row(position) for position in range(1, 16)]
    taken = replace(take(rows[:10], kept=4), limit=4)
    assert await cached(taken, MemoryArchive(rows[:10])).count(Selection(), 9) == (10, 8)
    extended = replace(taken, newest=10).extend([stored_message(r) for r in rows[10:]], 15)
    assert extended.floor == 12
    assert await cached(extended, MemoryArchive(rows)).count(Selection(), 9) == (15, 8)


def test_a_snapshot_keeps_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    many = replace(take([row(position) for position in range(1, 6)]), limit=3).cut()
    assert [m.position for m in many.messages] == [3, 4, 5]
    assert many.floor == 3
    monkeypatch.setattr(snapshot, "SNAPSHOT_BYTES", getsizeof("x" * 10))
    large = take([row(1, stanza="x" * 11), row(2, stanza="x" * 10)]).cut()
    assert [m.position for m in large.messages] == [2]
    none = take([row(1, stanza="x" * 11)]).cut()
    assert (none.messages, none.floor) == ([], 2)


async def test_a_snapshot_takes_no_more_memory_than_it_counts() -> None:
    tracemalloc.start()
    try:
        whole = take([row(1 << 60 | n, stanza=f"{n:0300}", peer=f"{n}@a") for n in range(300)])
        assert len((await cached(whole, AbsentArchive()).read(Selection(), 300)).items) == 300
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(whole.ids) == 300
    assert taken <= whole.size


async def test_a_snapshot_forgets_the_ids_of_the_messages_that_it_drops() -> None:
    whole = take([row(position) for position in range(1, 6)])
    await cached(whole, AbsentArchive()).read(Selection(), 5)
    assert list(replace(whole, limit=3).cut().ids) == [3, 4, 5]


async def test_a_page_from_a_snapshot_is_bounded_in_bytes() -> None:
    rows = [row(position, stanza="x" * (MAX_PAGE // 2)) for position in range(1, 5)]
    page = await cached(take(rows), AbsentArchive()).read(Selection(), 4)
    assert ([item.position for item in page.items], page.more) == ([1, 2], True)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("kept", range(6))
def test_a_segment_has_all_messages_between_its_ends(
    monkeypatch: pytest.MonkeyPatch, backward: bool, kept: int
) -> None:
    items = [Item(position, "id", "x") for position in range(2, 12, 2)]
    whole = Segment(Selection(), 0, 20, items)
    monkeypatch.setattr(read_ahead, "AHEAD_BYTES", whole.size // 5 * kept)
    part = whole.cut(backward=backward)
    assert len(part.items) == kept
    assert [i for i in items if part.low <= i.position <= part.high] == list(part.items)


class Walk:
    """A client that reads a selection page by page, and begins anew behind the last one.

    Args:
        selection: The selection.
        limit: Messages in a page at most.
        backward: Whether it begins with the newest.
    """

    def __init__(self, selection: Selection, limit: int, *, backward: bool) -> None:
        self._selection = selection
        self._window = selection
        self._limit = limit
        self._backward = backward

    async def turn(self, archive: Archive) -> tuple[Page, tuple[int, int] | None]:
        """Ask for the next page and its count at the same time, as the query component does."""
        window = self._window
        below = window.high + 1 if self._backward else window.low
        answer = await asyncio.gather(
            archive.read(window, self._limit, backward=self._backward),
            archive.count(self._selection, below),
        )
        self._move(answer[0])
        return answer

    def back(self, window: Selection) -> None:
        """Ask for a page once more."""
        self._window = window

    @property
    def window(self) -> Selection:
        """What is still to be read."""
        return self._window

    def _move(self, page: Page) -> None:
        if not page.more or not page.items:
            self._window = self._selection
        elif self._backward:
            self._window = replace(self._window, high=page.items[0].position - 1)
        else:
            self._window = replace(self._window, low=page.items[-1].position + 1)


class SlowArchive(MemoryArchive):
    """A store that answers after whatever else is asked at the same time.

    Attributes:
        reads: Number of pages that were read.
    """

    reads = 0

    async def read(
        self, selection: Selection, limit: int, *, backward: bool = False, skip: int = 0
    ) -> Page:
        self.reads += 1
        await asyncio.sleep(0)
        return await super().read(selection, limit, backward=backward, skip=skip)


FILTERS = st.builds(
    Selection,
    low=st.sampled_from([0, 0, 3, 10]),
    high=st.sampled_from([MAX_POSITION, MAX_POSITION, 12, 25]),
    peer=st.sampled_from(["", "", *PEERS]),
    groupchat=st.booleans(),
)
WALKS = st.builds(Walk, FILTERS, st.integers(1, 4), backward=st.booleans())
TURNS = st.integers(0, 2)
STEPS = st.one_of(
    TURNS,
    TURNS,
    st.tuples(st.just("oldest"), st.integers(0, 20)),
    st.tuples(st.just("said"), st.integers(1, 3)),
)


@given(
    rows=archives(30, least=12),
    kept=st.integers(0, 6),
    walks=st.lists(WALKS, min_size=3, max_size=3),
    steps=st.lists(STEPS, min_size=20, max_size=40),
    bounds=st.tuples(
        st.integers(1, 9), st.integers(1, 9), st.booleans(), st.sampled_from([MAX_PAGE, 60, 200])
    ),
)
async def test_walks_through_an_archive_get_the_pages_and_counts_of_the_store(
    rows: list[Row],
    kept: int,
    walks: list[Walk],
    steps: list[int | tuple[str, int]],
    bounds: tuple[int, int, bool, int],
) -> None:
    current, oldest = replace(take(rows, kept=kept), limit=kept + 3), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cached_archive, "_FEW", 0)
        patch.setattr(cached_archive, "AHEAD_MESSAGES", bounds[0])
        patch.setattr(read_ahead, "AHEAD_BYTES", bounds[1] * 1000)
        patch.setattr(cached_archive, "MAX_PAGE", bounds[3])
        archive_of = SlowArchive if bounds[2] else MemoryArchive
        for step in steps:
            match step:
                case ("oldest", number):
                    oldest = number
                case (_, number):
                    last = max([40, *(r.position for r in rows)])
                    new = [row(last + n) for n in range(1, number + 1)]
                    rows = [*rows, *new]
                    current = current.extend([stored_message(r) for r in new], MAX_POSITION)
                case number:
                    stored = archive_of(rows, oldest=oldest, page_bytes=bounds[3])
                    window = walks[number].window
                    expected = await walks[number].turn(stored)
                    walks[number].back(window)
                    found = await walks[number].turn(cached(current, stored, oldest))
                    assert found == expected


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("low", [0, 100])
async def test_a_walk_reads_ten_pages_at_a_time_and_counts_once(low: int, backward: bool) -> None:
    rows = [row(position) for position in range(1, 2801)]
    stored = SlowArchive(rows)
    kept = take(rows, kept=300)
    walk = Walk(Selection(low=low), 50, backward=backward)
    counts: list[object] = []
    archive = cached(kept, stored, on_count=counts.append)
    for _ in range((2801 - low) // 50 - 1):
        await walk.turn(archive)
    # To count reads these rows too.
    assert (stored.reads - 1, len(counts)) == (5 if backward else 6, 1)

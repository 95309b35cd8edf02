"""The feed of changes: what a reader with copies may rely on."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from query import change_feed
from query.change_feed import ChangeFeed
from stanzalake.errors import StoreUnavailable
from stanzalake.store.changes import EVERYBODY, HEEDED_WITHIN, Change
from tests.support.wait import until

SECOND = 1_000_000
JULIET, ROMEO = "juliet@capulet.lit", "romeo@montague.lit"


class Announcements:
    """Announcements in memory, with the store's clock and the reader's."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.now = 1_000 * SECOND
        self.seconds = 0.0
        self.is_away = False
        self.polls = 0

    def since(self, at: int) -> tuple[Sequence[Change], int]:
        self.polls += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return [change for change in self.changes if change.at >= at], self.now

    def announce(
        self, owner: str, late: int = 0, *, begins: bool = False, horizon: int = 0
    ) -> None:
        self.now += 1
        self.changes.append(Change(owner, self.now - late, begins, horizon))

    def clock(self) -> float:
        return self.seconds


@pytest.fixture
def store() -> Announcements:
    return Announcements()


@pytest.fixture
async def feed(store: Announcements) -> ChangeFeed:
    feed = ChangeFeed(store, store.clock)
    await feed.poll()
    return feed


async def test_only_the_archive_that_changed_has_a_new_number(
    store: Announcements, feed: ChangeFeed
) -> None:
    before = feed.read(JULIET)
    store.announce(ROMEO)
    await feed.poll()
    assert feed.read(JULIET) == before
    assert feed.read(ROMEO) != before


async def test_a_change_counts_once_and_also_if_it_becomes_readable_late(
    store: Announcements, feed: ChangeFeed
) -> None:
    store.announce(JULIET)
    await feed.poll()
    first = feed.read(JULIET)
    await feed.poll()
    assert feed.read(JULIET) == first
    store.now += SECOND
    store.announce(JULIET, late=60 * SECOND)
    await feed.poll()
    assert feed.read(JULIET) != first


async def test_without_a_poll_just_now_nothing_is_known(
    store: Announcements, feed: ChangeFeed
) -> None:
    store.seconds += HEEDED_WITHIN + 0.1
    assert feed.read(JULIET) is None
    store.is_away = True
    with pytest.raises(StoreUnavailable):
        await feed.poll()
    assert feed.read(JULIET) is None


async def test_after_a_gap_every_archive_may_have_changed(
    store: Announcements, feed: ChangeFeed
) -> None:
    before = feed.read(JULIET)
    store.now += 3_600 * SECOND
    await feed.poll()
    assert feed.read(JULIET) != before


async def test_after_the_stores_clock_was_set_back_every_archive_may_have_changed(
    store: Announcements, feed: ChangeFeed
) -> None:
    before = feed.read(JULIET)
    store.now -= 300 * SECOND
    store.announce(JULIET)
    await feed.poll()
    assert feed.read(JULIET) != before


async def test_an_archive_is_unknown_while_it_changes_and_for_an_hour_if_its_writer_was_killed(
    store: Announcements, feed: ChangeFeed
) -> None:
    before = feed.read(ROMEO)
    store.announce(JULIET, begins=True)  # and its writer is killed
    store.announce(JULIET, begins=True)
    await feed.poll()
    assert (feed.read(JULIET), feed.read(ROMEO)) == (None, before)
    store.announce(JULIET)
    await feed.poll()
    assert feed.read(JULIET) is None
    for _ in range(40):
        store.now += 100 * SECOND
        await feed.poll()
    assert feed.read(JULIET) is not None


async def test_a_change_that_is_done_is_a_change(store: Announcements, feed: ChangeFeed) -> None:
    before = feed.read(JULIET)
    store.announce(JULIET, begins=True)
    store.announce(JULIET)
    await feed.poll()
    assert feed.read(JULIET) not in {None, before}


async def test_a_change_of_all_archives(store: Announcements, feed: ChangeFeed) -> None:
    before = feed.read(JULIET)
    store.announce(EVERYBODY, begins=True)
    await feed.poll()
    assert feed.read(JULIET) is None
    store.announce(EVERYBODY)
    await feed.poll()
    assert feed.read(JULIET) not in {None, before}


async def test_messages_below_an_expiry_may_be_vanishing_until_it_is_done(
    store: Announcements, feed: ChangeFeed
) -> None:
    store.announce(EVERYBODY, begins=True, horizon=7)
    store.announce(EVERYBODY, begins=True, horizon=9)
    await feed.poll()
    before = feed.read(JULIET)
    assert (feed.horizon, before is None) == (9, False)
    store.announce(EVERYBODY, horizon=8)
    await feed.poll()
    assert feed.horizon == 9
    assert feed.read(JULIET) != before
    store.announce(EVERYBODY, horizon=9)
    await feed.poll()
    assert feed.horizon == 0


async def test_too_many_changes_count_for_everybody(
    store: Announcements, feed: ChangeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "_MAX_OWNERS", 1)
    before = feed.read(JULIET)
    for number in range(3):
        store.announce(f"user{number}@capulet.lit")
    await feed.poll()
    assert feed.read(JULIET) != before


async def test_a_late_poll_is_made_up_for_by_those_who_ask_together(
    store: Announcements, feed: ChangeFeed
) -> None:
    before = feed.read(JULIET)
    store.seconds += HEEDED_WITHIN + 1
    store.announce(ROMEO)
    assert feed.read(JULIET) is None
    polls = store.polls
    found = await asyncio.gather(*(feed.current(owner) for owner in [JULIET] * 9 + [ROMEO]))
    assert (set(found[:9]), store.polls) == ({before}, polls + 1)
    assert found[9] not in {None, before}
    assert await feed.current(JULIET) == before
    assert store.polls == polls + 1


async def test_those_who_ask_together_ask_a_store_that_is_away_once(
    store: Announcements, feed: ChangeFeed
) -> None:
    store.seconds += HEEDED_WITHIN + 1
    store.is_away = True
    polls = store.polls
    assert await asyncio.gather(*(feed.current(JULIET) for _ in range(9))) == [None] * 9
    assert store.polls == polls + 1


async def test_the_store_is_polled_only_while_somebody_reads(store: Announcements) -> None:
    feed, stop = ChangeFeed(store, store.clock), asyncio.Event()
    running = asyncio.create_task(feed.run(stop))
    assert feed.read(JULIET) is None
    await until(lambda: feed.read(JULIET) is not None)
    before = feed.read(JULIET)
    store.seconds += 61
    await until(lambda: feed.is_idle)
    polls = store.polls
    assert feed.read(JULIET) is None
    await until(lambda: store.polls > polls)
    await until(lambda: feed.read(JULIET) is not None)
    assert feed.read(JULIET) != before
    stop.set()
    await running


async def test_a_poll_that_outlasts_the_last_reader_loses_no_open_change(
    store: Announcements, feed: ChangeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.announce(JULIET, begins=True)
    await feed.poll()
    store.now += 300 * SECOND
    await feed.poll()
    begins, ends, since = threading.Event(), threading.Event(), store.since

    def hang(at: int) -> tuple[Sequence[Change], int]:
        begins.set()
        ends.wait(10)
        return since(at)

    monkeypatch.setattr(store, "since", hang)
    store.seconds += 1
    asking = asyncio.create_task(feed.current(JULIET))
    await until(begins.is_set)
    store.seconds += 61
    stop = asyncio.Event()
    running = asyncio.create_task(feed.run(stop))
    await asyncio.sleep(0)
    ends.set()
    await asking
    await until(lambda: feed.is_idle)
    assert await feed.current(JULIET) is None
    stop.set()
    await running

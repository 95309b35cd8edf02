"""The feed of changes: what a reader with copies may rely on."""

import asyncio
from collections.abc import Sequence

import pytest

from query import change_feed
from query.change_feed import ChangeFeed
from stanzalake.errors import StoreUnavailable
from stanzalake.store.changes import HEEDED_WITHIN, Change
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

    def announce(self, owner: str, late: int = 0) -> None:
        self.changes.append(Change(owner, self.now - late))

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
    store.announce(JULIET, late=5 * SECOND)
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


async def test_too_many_changes_count_for_everybody(
    store: Announcements, feed: ChangeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "_MAX_OWNERS", 1)
    before = feed.read(JULIET)
    for number in range(3):
        store.announce(f"user{number}@capulet.lit")
    await feed.poll()
    assert feed.read(JULIET) != before


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

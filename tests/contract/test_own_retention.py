"""Own retention: an owner may keep messages for less than the host does, on both engines."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest

from processor.batch import Batch
from processor.sink import Sink
from query.cached_archive import CachedArchive
from query.change_feed import ChangeFeed
from query.page_cache import PageCache
from query.request import Request
from query.state import describe
from stanzalake.model.event import VERSION, Erasure, OwnRetention
from stanzalake.model.page import ArchiveRetention, Selection
from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import FOREVER, Retention
from stanzalake.store import statistics
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.changes import Changes
from stanzalake.store.client import Row, Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.erasures import MAY_BE_ERASED, Erasures
from stanzalake.store.messages import MessageRange, Messages
from stanzalake.store.own_retention import OwnRetentions
from stanzalake.store.retention import horizon
from stanzalake.store.search import SearchQuery, search
from tests.support.archives import SEALER, open_archive
from tests.support.events import ROMEO, stanza
from tests.support.full_text import text_query
from tests.support.stores import migrated_store
from tests.support.wait import until

DAY = 86_400
AGES = (100, 10, 1)
"""Ages of the messages of each archive, in days."""
_numbers = itertools.count()


class World(NamedTuple):
    """A store with two archives, of which the first one's owner chooses.

    Attributes:
        store: The store.
        sink: Writes what was chosen, as the processor does.
        now: Unix time of the store, which its views go by.
        owner: Whose choice it is.
        other: Whose archive nobody else may touch.
    """

    store: Store
    sink: Sink
    now: int
    owner: str
    other: str

    def choose(self, days: float, ago: float = 0, owner: str = "") -> OwnRetention:
        return OwnRetention(
            v=VERSION,
            owner=owner or self.owner,
            position=self.at(ago),
            seconds=int(days * DAY),
            by=f"{self.owner}/balcony",
        )

    def at(self, days: float) -> int:
        return from_milliseconds(int(1000 * (self.now - days * DAY)))

    def write(self, *choices: OwnRetention) -> None:
        self.sink.write_states(Batch([], [], [], {}, retentions=choices))

    def remove_account(self, ago: float = 0) -> None:
        end = self.at(ago)
        gone = Erasure(v=VERSION, owner=self.owner, position=end, end=end, account=True)
        self.sink.write_states(Batch([], [gone], [], {}))

    def insert(self, owner: str, *ages: float) -> None:
        rows = [
            Row(owner, self.at(age), ROMEO, "", "in", "chat", stanza(f"{age} days")) for age in ages
        ]
        self.store.insert(rows)

    def ages(self, positions: Iterable[int]) -> list[int]:
        return [round((self.now - (position >> 16) / 1000) / DAY) for position in positions]

    async def shown(self, owner: str = "", retention: Retention = FOREVER) -> list[int]:
        reader = ArchiveReader(self.store, SEALER, retention, clock=lambda: self.now)
        page = await reader.archive(owner or self.owner).read(Selection(), 10)
        await reader.close()
        return self.ages(item.position for item in page.items)

    def on_disk(self, owner: str) -> list[int]:
        rows = self.store.select(
            f"SELECT DISTINCT position FROM {self.store.table}"
            " WHERE owner = {owner:String} ORDER BY position",
            {"owner": owner},
        )
        return self.ages(position for (position,) in rows)


@pytest.fixture(scope="module")
def store(dsn: str) -> Iterator[Store]:
    with migrated_store(dsn) as store:
        yield store


@pytest.fixture
def world(store: Store) -> World:
    [(now,)] = store.select("SELECT toUnixTimestamp(now('UTC'))")
    number = next(_numbers)
    owner, other = f"juliet-{number}@capulet.lit", f"nurse-{number}@capulet.lit"
    made = World(store, Sink(store), int(now), owner, other)
    for each in (owner, other):
        made.insert(each, *AGES)
    return made


async def test_pages_and_counts_go_by_the_shorter_of_the_two_periods(world: World) -> None:
    world.write(world.choose(30))
    assert await world.shown() == [10, 1]
    assert await world.shown(retention=Retention(5 * DAY)) == [1]
    assert await world.shown(world.other) == [*AGES]
    reader = ArchiveReader(world.store, SEALER, FOREVER)
    archive = reader.archive(world.owner)
    assert await archive.count(Selection(), 1 << 62) == (2, 2)
    assert [c.newest for c in await archive.conversations({})] == [world.at(1)]
    assert await archive.stored([world.at(age) for age in AGES]) == {world.at(10), world.at(1)}
    await reader.close()


async def test_a_longer_own_period_than_the_host_s_keeps_nothing_longer(world: World) -> None:
    world.write(world.choose(1000))
    assert await world.shown(retention=Retention(50 * DAY)) == [10, 1]


def test_exports_searches_statistics_and_analysts_do_not_see_what_is_too_old(world: World) -> None:
    before = statistics.read(world.store, 102, FOREVER, world.now).messages
    world.write(world.choose(30))
    exported = Messages(world.store).read(MessageRange(world.owner))
    assert world.ages(row.position for row in exported) == [10, 1]
    query = SearchQuery(text_query("days"), owner=world.owner)
    found = search(world.store, query, 99, horizon(FOREVER, world.now))
    assert world.ages(one.position for one in found) == [10, 1]
    counted = statistics.read(world.store, 102, FOREVER, world.now)
    assert counted.messages == sum(day.messages for day in counted.days) == before - 1
    key = f"(SELECT key FROM {world.store.table}_secret ORDER BY made_at LIMIT 1)"
    rows = world.store.select(
        f"SELECT count() FROM {world.store.table}_bodies WHERE owner_hash"
        f" = lower(hex(sipHash64Keyed({key}, {{owner:String}})))",
        {"owner": world.owner},
    )
    assert rows[0][0] == 2


async def test_what_was_hidden_does_not_come_back(world: World) -> None:
    world.write(world.choose(5, ago=2))
    assert await world.shown() == [1]
    world.write(world.choose(30, ago=1))
    assert await world.shown() == [1]
    world.write(world.choose(0))
    assert await world.shown() == [1]
    world.insert(world.owner, 6, 9)
    assert await world.shown() == [6, 1]


async def test_choices_count_in_the_order_of_positions_also_when_written_again(
    world: World,
) -> None:
    first, second = world.choose(50, ago=3), world.choose(0, ago=2)
    world.write(second, first)
    world.write(first)
    assert OwnRetentions(world.store).read([world.owner])[world.owner].seconds == 0
    assert await world.shown() == [10, 1]
    world.write(second)
    assert await world.shown() == [10, 1]


async def test_the_bytes_go_with_the_next_clean_up_and_those_of_others_stay(world: World) -> None:
    world.write(world.choose(30))
    deletion = Deletion(world.store)
    assert deletion.expired(world.now).messages >= 1
    await until(lambda: not deletion.step(world.now))
    assert world.on_disk(world.owner) == [10, 1]
    assert world.on_disk(world.other) == [*AGES]
    assert OwnRetentions(world.store).due() == {}


async def test_a_new_account_of_the_name_begins_without_a_period(world: World) -> None:
    world.write(world.choose(5, ago=4))
    world.remove_account(ago=3)
    world.insert(world.owner, 2)
    world.write(world.choose(1, ago=3.5))
    assert OwnRetentions(world.store).read([world.owner])[world.owner].seconds == 0
    assert await world.shown() == [2, 1]


async def test_owners_without_a_period_cost_no_further_statement(world: World) -> None:
    def may_be_hidden(owner: str) -> bool:
        parameters = {"owner": owner, "erased": f"{world.store.table}_erased"}
        return bool(world.store.select(f"SELECT {MAY_BE_ERASED}", parameters)[0][0])

    world.write(world.choose(30))
    assert [may_be_hidden(owner) for owner in (world.owner, world.other)] == [True, False]
    world.store.command(f"TRUNCATE TABLE {world.store.table}_erased")
    Erasures(world.store).complete()
    assert [may_be_hidden(owner) for owner in (world.owner, world.other)] == [True, False]


async def test_snapshots_follow_a_choice_and_age(world: World) -> None:
    now = float(world.now)
    reader = ArchiveReader(world.store, SEALER, FOREVER, clock=lambda: now)
    feed = ChangeFeed(Changes(world.store), clock=lambda: 0.0)
    cache = PageCache(reader, SEALER, feed, 1 << 20)
    request = Request("capulet.lit", world.owner, world.owner, None, newest=world.at(0))

    async def cached() -> list[int]:
        await feed.poll()
        archive = await open_archive(cache, request)
        assert isinstance(archive, CachedArchive)
        items = (await archive.read(Selection(), 10)).items
        total, _ = await archive.count(Selection(), 0) or (None, 0)
        unread = [one.unread for one in await archive.conversations({})]
        assert total == len(items) == sum(unread)
        return world.ages(item.position for item in items)

    assert await cached() == [100, 10, 1]
    world.write(world.choose(30))
    assert await cached() == [10, 1]
    now += 25 * DAY
    assert await cached() == [1]
    now -= 25 * DAY
    assert await cached() == [10, 1]
    await reader.close()


def test_the_tap_is_told_of_both_periods() -> None:
    told = describe((), ArchiveRetention(own=5 * DAY, host=50 * DAY)).content
    assert b'"own_retention": 432000' in told
    assert b'"host_retention": 4320000' in told
    assert b"retention" not in describe((), ArchiveRetention(own=0, host=None)).content

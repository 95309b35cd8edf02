"""Retention by host: what readers see, and what is removed; on both engines."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from processor.cleaner import Cleaner
from stanzalake.model.page import Selection
from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import FOREVER, Retention
from stanzalake.store import migrations, statistics
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Row, Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.retention import RetentionRecord, horizon
from stanzalake.store.search import SearchQuery, search
from tests.support.archives import SEALER
from tests.support.events import ROMEO, stanza
from tests.support.full_text import text_query
from tests.support.settings import load
from tests.support.stores import migrated_store
from tests.support.wait import until

DAY = 86_400
AGES = (100, 10, 1)
"""Ages of the messages of each archive, in days."""
SHORT, LONG, DEFAULT = "juliet@short.lit", "juliet@long.lit", "juliet@capulet.lit"
RETENTION = Retention(50 * DAY, {"short.lit": 5 * DAY, "long.lit": None})
LEFT: Mapping[str, list[int]] = {SHORT: [1], LONG: [100, 10, 1], DEFAULT: [10, 1]}
SETTINGS: Mapping[str, Any] = {
    "PROSODY_ARCHIVE_EXPIRES_AFTER": "50d",
    "STANZALAKE_EXPIRE_HOSTS": "short.lit=5d, long.lit=never",
}


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    with migrated_store(dsn) as store:
        yield store


@pytest.fixture
def now(store: Store) -> int:
    """Fill three archives; return the time of the store, which its views go by."""
    [(now,)] = store.select("SELECT toUnixTimestamp(now('UTC'))")
    rows = [
        Row(owner, at(now, age), ROMEO, "", "in", "chat", stanza(f"{age} days"))
        for owner in LEFT
        for age in AGES
    ]
    store.insert(rows)
    return int(now)


def at(now: int, days: int) -> int:
    return from_milliseconds(1000 * (now - days * DAY))


def ages(now: int, positions: Iterator[int]) -> list[int]:
    return [round((now - (position >> 16) / 1000) / DAY) for position in positions]


def each(*ages: int) -> Mapping[str, list[int]]:
    return {owner: [*ages] for owner in LEFT}


def on_disk(store: Store, now: int) -> dict[str, list[int]]:
    rows = store.select(f"SELECT DISTINCT owner, position FROM {store.table} ORDER BY position")
    return {owner: ages(now, (p for of, p in rows if of == owner)) for owner in LEFT}


async def test_pages_follow_the_retention_of_the_host(store: Store, now: int) -> None:
    reader = ArchiveReader(store, SEALER, RETENTION, clock=lambda: now)
    for owner, left in LEFT.items():
        page = await reader.archive(owner).read(Selection(), 10)
        assert ages(now, (item.position for item in page.items)) == left


def test_searches_and_statistics_follow_the_retention_of_the_host(store: Store, now: int) -> None:
    found = search(store, SearchQuery(text_query("days")), 99, horizon(RETENTION, now))
    for owner, left in LEFT.items():
        assert ages(now, (one.position for one in found if one.owner == owner)) == left
    counted = statistics.read(store, 200, RETENTION, now)
    assert {host.host: host.messages for host in counted.hosts} == {
        owner.partition("@")[2]: len(left) for owner, left in LEFT.items()
    }
    assert sum(day.messages for day in counted.days) == sum(map(len, LEFT.values()))


def test_analysts_views_follow_the_retention_of_the_host(store: Store, now: int) -> None:
    assert now
    settings = load(**SETTINGS)
    assert migrations.pending_changes(store, settings)
    migrations.apply(store, settings)
    assert migrations.pending_changes(store, settings) == []
    rows = store.select(f"SELECT host, count() FROM {store.table}_bodies GROUP BY host")
    assert dict(map(tuple, rows)) == {o.partition("@")[2]: len(left) for o, left in LEFT.items()}


async def removed(deletion: Deletion, now: int) -> None:
    await until(lambda: not deletion.step(now))


async def test_a_shorter_retention_removes_nothing_before_it_is_confirmed(
    store: Store, now: int
) -> None:
    deletion = Deletion(store, retention=RETENTION)
    await removed(deletion, now)
    assert on_disk(store, now) == each(*AGES)
    assert deletion.waiting(now).messages == deletion.expired(now).messages == 3
    deletion.confirm()
    assert deletion.waiting(now).messages == 0
    await removed(deletion, now)
    assert on_disk(store, now) == LEFT


async def test_the_former_retention_goes_on_until_then(store: Store, now: int) -> None:
    RetentionRecord(store).write(Retention(50 * DAY))
    shorter = Deletion(store, retention=Retention(5 * DAY))
    await removed(shorter, now)
    assert on_disk(store, now) == each(10, 1)
    assert shorter.waiting(now).messages == 3
    restored = Deletion(store, retention=Retention(50 * DAY))
    assert restored.waiting(now).messages == 0
    await removed(restored, now)
    assert on_disk(store, now) == each(10, 1)


def test_a_longer_retention_is_recorded_at_once(store: Store) -> None:
    record = RetentionRecord(store)
    record.write(Retention(5 * DAY, {"short.lit": DAY}))
    assert record.extend(Retention(50 * DAY)) == Retention(50 * DAY, {"short.lit": 50 * DAY})
    assert record.extend(RETENTION) == Retention(
        50 * DAY, {"short.lit": 50 * DAY, "long.lit": None}
    )
    assert record.read() == record.extend(Retention(DAY))


async def test_a_clean_up_says_how_many_messages_wait(
    store: Store, now: int, caplog: pytest.LogCaptureFixture
) -> None:
    cleaner = Cleaner(load(**SETTINGS), store, clock=lambda: now)
    await cleaner.clean(asyncio.Event())
    assert "3 messages are hidden, but not removed" in caplog.text
    assert on_disk(store, now) == each(*AGES)


async def test_a_shorter_retention_by_which_nothing_expires_is_confirmed_at_once(
    store: Store, now: int, caplog: pytest.LogCaptureFixture
) -> None:
    cleaner = Cleaner(load(PROSODY_ARCHIVE_EXPIRES_AFTER="150d"), store, clock=lambda: now)
    await cleaner.clean(asyncio.Event())
    assert RetentionRecord(store).read() == Retention(150 * DAY)
    assert not caplog.records


def test_the_retention_of_a_version_that_did_not_record_it_counts(store: Store) -> None:
    settings = load(PROSODY_ARCHIVE_EXPIRES_AFTER="90d")
    for former, recorded in (("never", FOREVER), ("1y", Retention(31_556_952))):
        store.command(f"TRUNCATE TABLE {store.table}_retention")
        migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER=former))
        store.command(f"DROP TABLE {store.table}_retention")
        store.command(f"ALTER TABLE {store.table}_migrations DELETE WHERE number = 11 {SYNC}")
        migrations.apply(store, settings)
        assert RetentionRecord(store).read() == recorded


SYNC = "SETTINGS mutations_sync = 2"

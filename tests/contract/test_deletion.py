"""Expired and erased messages leave the disk, by mutations in the background; on both engines."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from devstack.clickhouse import ClickHouse
from processor.cleaner import Cleaner
from stanzalake.errors import StoreDenied, StoreUnavailable
from stanzalake.model.event import VERSION, Activation, Erasure, OwnRetention
from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import Retention
from stanzalake.store import migrations
from stanzalake.store.client import Row, Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.erasures import Erasures
from stanzalake.store.histories import Histories
from stanzalake.store.own_retention import OwnRetentions
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.settings import load
from tests.support.stores import empty_store, migrated_store
from tests.support.wait import until

OTHER = "nurse@capulet.lit"
NOW = 10**9
DAY = 86_400


def row(position: int, owner: str = JULIET, peer: str = ROMEO) -> Row:
    return Row(owner, position, peer, "", "in", "chat", stanza(f"secret of {owner}"))


def aged(seconds: int) -> int:
    return from_milliseconds(1000 * (NOW - seconds))


def erasure(position: int = 100, **changes: Any) -> Erasure:
    fields: dict[str, Any] = {"v": VERSION, "owner": JULIET, "position": position, "end": position}
    return Erasure(**{**fields, **changes})


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    with migrated_store(dsn) as store:
        yield store


def positions(store: Store, owner: str = JULIET) -> list[int]:
    """Return the positions of an owner's rows on the disk."""
    rows = store.select(
        f"SELECT DISTINCT position FROM {store.table} WHERE owner = {{owner:String}}",
        {"owner": owner},
    )
    return sorted(position for (position,) in rows)


async def removed(deletion: Deletion, now: float = NOW) -> None:
    """Wait until nothing is left to remove."""
    await until(lambda: not deletion.step(now))


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        pytest.param({}, [100, 200], id="everything before it"),
        pytest.param({"start": 2, "end": 50}, [1, 50, 100, 200], id="a period"),
        pytest.param({"peer": OTHER}, [1, 2, 50, 100, 200], id="a peer"),
        pytest.param({"end": 2**63}, [100, 200], id="nothing after it"),
    ],
)
async def test_rows_of_erased_messages_are_removed(
    store: Store, changes: dict[str, Any], left: list[int]
) -> None:
    store.insert([row(p) for p in (1, 2, 50, 100, 200)] + [row(3, peer=OTHER)])
    store.insert([row(p, OTHER) for p in (1, 2)])
    store.insert([row(2)])
    Erasures(store).write([erasure(**changes)])
    await removed(Deletion(store))
    assert positions(store) == left
    assert positions(store, OTHER) == [1, 2]


async def test_rows_of_expired_messages_are_removed(store: Store) -> None:
    store.insert([row(aged(age)) for age in (3, 2, 1)])
    store.insert([row(aged(2))])
    deletion = Deletion(store, retention=Retention(2))
    assert deletion.expired(NOW) == (1, aged(3), aged(3), 0)
    assert deletion.expired(NOW + 1) == (2, aged(3), aged(2), 0)
    deletion.confirm()
    await removed(deletion, NOW + 1)
    assert positions(store) == [aged(1)]
    assert deletion.expired(NOW + 1).messages == 0


def test_without_rows_to_remove_there_is_no_work(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.insert([row(200), row(1, OTHER)])
    Erasures(store).write([erasure()])
    monkeypatch.setattr(store, "command", None)
    deletion = Deletion(store, retention=Retention(NOW))
    assert not deletion.step(NOW)
    assert not deletion.doomed(NOW)


async def test_a_running_mutation_is_not_started_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.insert([row(1), row(1, OTHER)])
    Erasures(store).write([erasure()])
    store.command(f"SYSTEM STOP MERGES {store.table}")
    deletion = Deletion(store)
    assert deletion.step(NOW)
    with monkeypatch.context() as hurried:
        hurried.setattr(store, "command", None)
        assert deletion.step(NOW)
        assert deletion.rewrites() > 0
    assert positions(store) == [1]
    store.command(f"SYSTEM START MERGES {store.table}")
    await removed(deletion)
    assert positions(store) == []


async def test_a_mutation_that_was_lost_is_started_again(store: Store) -> None:
    store.insert([row(1)])
    Erasures(store).write([erasure()])
    store.command(f"SYSTEM STOP MERGES {store.table}")
    assert Deletion(store).step(NOW)
    store.command(f"KILL MUTATION WHERE table = '{store.table}'")
    store.command(f"SYSTEM START MERGES {store.table}")
    await removed(Deletion(store))
    assert positions(store) == []


async def test_a_mutation_that_fails_is_an_error_without_values(store: Store) -> None:
    """ClickHouse repeats a failing mutation for ever, and whoever waits for it would wait, too."""
    store.insert([row(1)])
    store.command(
        f"ALTER TABLE {store.table} DELETE WHERE throwIf(stanza != '', 'secret')"
        " SETTINGS mutations_sync = 0, allow_nondeterministic_mutations = 1"
    )
    deletion = Deletion(store)

    def error() -> str:
        try:
            assert deletion.step(NOW)
        except StoreUnavailable as failure:
            return str(failure)
        return ""

    await until(lambda: bool(error()))
    assert error() == (
        "ClickHouse cannot rewrite a part (error 395 FUNCTION_THROW_IF_VALUE_IS_NON_ZERO)"
    )


async def test_many_erasures_are_few_mutations(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = [f"{n}@capulet.lit" for n in range(1200)]
    store.insert([row(1, owner) for owner in owners])
    Erasures(store).write(erasure(owner=owner) for owner in owners)
    command, asked = store.command, list[str]()

    def counted(statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        asked.append(statement)
        command(statement, parameters)

    monkeypatch.setattr(store, "command", counted)
    await removed(Deletion(store))
    assert 0 < len(asked) < 10
    assert not any(positions(store, owner) for owner in owners[::100])


async def test_erased_owners_may_have_long_names(store: Store) -> None:
    owners = [f"{n}{'ж' * 300}@{'h' * 1000}" for n in range(100)]
    store.insert([row(1, owner) for owner in owners])
    Erasures(store).write(erasure(owner=owner) for owner in owners)
    await removed(Deletion(store))
    assert not any(positions(store, owner) for owner in owners[::10])


async def test_the_preferences_of_a_removed_account_are_removed(store: Store) -> None:
    histories = Histories(store)
    said = [Activation(v=VERSION, owner=JULIET, position=p) for p in (1, 300)]
    histories.write([*said, Activation(v=VERSION, owner=OTHER, position=1)])
    ended = erasure(account=True)
    histories.write([ended])
    assert histories.read([JULIET])[JULIET] == (ended, said[1])
    await removed(Deletion(store))
    assert histories.read([JULIET])[JULIET] == (ended, said[1])
    rows = store.select(f"SELECT owner, position FROM {store.table}_preferences ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [(JULIET, 300), (OTHER, 1)]


@pytest.mark.slow
async def test_the_bytes_leave_the_disk(clickhouse: ClickHouse) -> None:
    """Expect the parts that held an erased message to be deleted, also those already replaced."""
    store = empty_store(clickhouse.dsn())
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    store.command(f"ALTER TABLE {store.table} MODIFY SETTING old_parts_lifetime = 1")
    store.insert([row(p) for p in (1, 2)] + [row(p, OTHER) for p in (1, 2)])
    store.insert([row(3)])
    store.command(f"OPTIMIZE TABLE {store.table} FINAL")
    before = _parts(store)
    deletion, asked = Deletion(store), erasure()
    doomed = deletion.doomed(NOW, [asked])
    assert {part.name for part in doomed} == before
    Erasures(store).write([asked])
    await removed(deletion)
    # The engine looks for old parts once in a while, when it has nothing else to do.
    await until(lambda: not deletion.on_disk(doomed), 110)
    assert not before & _parts(store)
    assert positions(store, OTHER) == [1, 2]
    store.close()


async def test_a_clean_up_removes_both_once_in_an_interval(store: Store) -> None:
    now = NOW
    settings = load(PROSODY_ARCHIVE_EXPIRES_AFTER="100", PROSODY_ARCHIVE_CLEANUP_INTERVAL="60")
    store.insert([row(aged(age)) for age in (101, 50, 10)])
    # Inserted by a processor that was given up, after the erasure.
    Erasures(store).write([erasure(aged(50) + 1)])
    Deletion.of(store, settings).confirm()
    cleaner = Cleaner(settings, store, clock=lambda: now, elapsed=lambda: now)
    assert not cleaner.is_due()
    cleaner.regular = True
    assert cleaner.is_due()
    await cleaner.clean(asyncio.Event())
    assert positions(store) == [aged(10)]
    now += 59
    assert not cleaner.is_due()
    now += 1
    assert cleaner.is_due()
    cleaner.regular = False
    assert not cleaner.is_due()


async def test_a_requested_clean_up_is_soon_however_many_are_requested(store: Store) -> None:
    now = NOW
    cleaner = Cleaner(load(), store, clock=lambda: now, elapsed=lambda: now)
    await cleaner.clean(asyncio.Event())
    for _ in range(1000):
        cleaner.request()
        assert not cleaner.is_due()
    now += 10
    assert cleaner.is_due()
    await cleaner.clean(asyncio.Event())
    now += 10
    assert not cleaner.is_due()


async def test_a_clean_up_is_due_though_the_clock_was_set_back(store: Store) -> None:
    clock, elapsed = NOW, 0.0
    settings = load(PROSODY_ARCHIVE_CLEANUP_INTERVAL="60")
    cleaner = Cleaner(settings, store, clock=lambda: clock, elapsed=lambda: elapsed)
    cleaner.regular = True
    await cleaner.clean(asyncio.Event())
    clock -= 86_400
    elapsed += 59
    assert not cleaner.is_due()
    elapsed += 1
    assert cleaner.is_due()


async def test_a_clock_that_is_ahead_expires_nothing_for_good(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    clock, elapsed = NOW + 10 * 365 * DAY, 0.0
    settings = load(
        PROSODY_ARCHIVE_EXPIRES_AFTER="30d", PROSODY_ARCHIVE_CLEANUP_INTERVAL=str(7 * DAY)
    )
    store.insert([row(aged(days * DAY)) for days in (32, 28, 2)])
    Deletion.of(store, settings).confirm()
    cleaner = Cleaner(settings, store, clock=lambda: clock, elapsed=lambda: elapsed)
    cleaner.regular = True
    for _ in range(2):
        await cleaner.clean(asyncio.Event())
    assert positions(store) == [aged(28 * DAY), aged(2 * DAY)]
    assert caplog.text.count("no message is newer than 2001-09-07, as if the clock were ahead") == 1
    # The clock was right after an outage: once the first messages are there, it counts again.
    store.insert([row(from_milliseconds(1000 * (clock - 100)))])
    elapsed += 3600
    assert cleaner.is_due()
    await cleaner.clean(asyncio.Event())
    assert len(positions(store)) == 1


async def test_the_clock_is_not_doubted_where_nothing_expires(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.insert([row(aged(2 * DAY))])
    settings = load(PROSODY_ARCHIVE_EXPIRES_AFTER="never")
    cleaner = Cleaner(settings, store, clock=lambda: NOW, elapsed=lambda: 0.0)
    await cleaner.clean(asyncio.Event())
    assert "as if the clock were ahead" not in caplog.text
    # One owner's own period is enough.
    choice = OwnRetention(v=VERSION, owner=OTHER, position=1, seconds=DAY, by="")
    OwnRetentions(store).write([choice])
    await cleaner.clean(asyncio.Event())
    assert "as if the clock were ahead" in caplog.text


async def test_what_expires_in_an_archive_without_new_messages_leaves_the_disk_in_an_interval(
    store: Store,
) -> None:
    elapsed = 0.0
    settings = load(PROSODY_ARCHIVE_EXPIRES_AFTER="30d")
    store.insert([row(aged(days * DAY)) for days in (32, 2)])
    Deletion.of(store, settings).confirm()
    cleaner = Cleaner(settings, store, clock=lambda: NOW + 60 * DAY, elapsed=lambda: elapsed)
    await cleaner.clean(asyncio.Event())
    assert positions(store) == [aged(2 * DAY)]
    elapsed += settings.cleanup_interval
    await cleaner.clean(asyncio.Event())
    assert positions(store) == []


async def test_a_cleaner_outlives_a_store_that_refuses(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def denied(*_: object) -> None:
        raise StoreDenied("not this user")

    monkeypatch.setattr(store, "select", denied)
    stop = asyncio.Event()
    cleaning = asyncio.create_task(Cleaner(load(), store).run(stop))
    await until(lambda: "put off: not this user" in caplog.text)
    stop.set()
    await cleaning


async def test_a_running_cleaner_completes_the_table_of_erased_owners(store: Store) -> None:
    """A restart of ClickHouse empties it."""
    store.command(f"TRUNCATE TABLE {store.table}_erased")
    stop = asyncio.Event()
    cleaning = asyncio.create_task(Cleaner(load(), store).run(stop))
    await until(lambda: store.select(f"SELECT owner FROM {store.table}_erased") == [(0,)])
    stop.set()
    await cleaning


def _parts(store: Store) -> set[str]:
    rows = store.select(
        "SELECT name FROM system.parts WHERE table = {table:String}", {"table": store.table}
    )
    return {name for (name,) in rows}

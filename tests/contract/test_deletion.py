"""What is erased or expired is gone: from readers at once, from the disk after the clean-up."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest

from devstack.clickhouse import ClickHouse
from processor.cleaner import Cleaner
from stanzalake.errors import StoreDenied, StoreUnavailable
from stanzalake.model.event import VERSION, Activation, Erasure
from stanzalake.model.position import from_milliseconds
from stanzalake.store import migrations
from stanzalake.store.client import Row, Store
from stanzalake.store.deletion import Deletion, MessageSummary
from stanzalake.store.erasures import Erasures
from stanzalake.store.histories import Histories
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.settings import load
from tests.support.wait import until

_names = (f"removal_{n}" for n in itertools.count())
OTHER = "nurse@capulet.lit"
SECONDS = 1000 << 16
"""Positions in a second."""


def row(position: int, owner: str = JULIET, peer: str = ROMEO) -> Row:
    return Row(owner, position, peer, "", "in", "chat", stanza(f"secret of {owner}"))


def erasure(position: int = 100, **changes: Any) -> Erasure:
    fields: dict[str, Any] = {"v": VERSION, "owner": JULIET, "position": position, "end": position}
    return Erasure(**{**fields, **changes})


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    store = Store(dsn, next(_names))
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    yield store
    store.close()


def positions(store: Store, owner: str = JULIET) -> list[int]:
    rows = store.select(
        f"SELECT DISTINCT position FROM {store.table} WHERE owner = {{owner:String}}",
        {"owner": owner},
    )
    return sorted(position for (position,) in rows)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        pytest.param({}, [100, 200], id="everything before it"),
        pytest.param({"start": 2, "end": 50}, [1, 50, 100, 200], id="a time"),
        pytest.param({"peer": OTHER}, [1, 2, 50, 100, 200], id="a peer"),
        pytest.param({"end": 2**63}, [100, 200], id="never what comes after it"),
    ],
)
def test_readers_see_nothing_of_what_is_erased(
    store: Store, changes: dict[str, Any], left: list[int]
) -> None:
    store.insert([row(p) for p in (1, 2, 50, 100, 200)] + [row(3, peer=OTHER)])
    store.insert([row(p, OTHER) for p in (1, 2)])
    store.insert([row(2)])
    Deletion(store).erase([erasure(**changes)])
    assert positions(store) == left
    assert positions(store, OTHER) == [1, 2]


def test_an_erasure_again_is_no_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.insert([row(1)])
    deletion = Deletion(store)
    deletion.erase([erasure()])
    monkeypatch.setattr(store, "command", None)
    deletion.erase([erasure()])


def test_many_erasures_are_few_statements(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = [f"{n}@capulet.lit" for n in range(1200)]
    store.insert([row(1, owner) for owner in owners])
    command, asked = store.command, list[str]()

    def counted(statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        asked.append(statement)
        command(statement, parameters)

    monkeypatch.setattr(store, "command", counted)
    Deletion(store).erase([erasure(owner=owner) for owner in owners])
    assert len(asked) < 10
    assert not any(positions(store, owner) for owner in owners[::100])


def test_the_names_of_who_is_erased_may_be_long(store: Store) -> None:
    owners = [f"{n}{'ж' * 300}@{'h' * 1000}" for n in range(100)]
    store.insert([row(1, owner) for owner in owners])
    Deletion(store).erase([erasure(owner=owner) for owner in owners])
    assert not any(positions(store, owner) for owner in owners[::10])


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "overtaken"])
def test_an_erasure_that_did_not_work_is_asked_for_again_but_seldom(
    store: Store, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Its statement got lost, or another process wrote a message behind it."""
    store.insert([row(1)])
    ask, asked, now = store.command, 0, 0.0

    def command(statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        nonlocal asked
        asked += 1
        if asked > 2 or not lost:
            ask(statement.replace("_sync = 0", "_sync = 1"), parameters)
        if asked <= 2 and not lost:
            store.insert([row(2)])

    def sleep(_: float) -> None:
        nonlocal now
        now += 1

    monkeypatch.setattr(store, "command", command)
    deletion = Deletion(store, clock=lambda: now, sleep=sleep)
    for _ in range(6):
        with suppress(StoreUnavailable):
            deletion.erase([erasure()])
    assert positions(store) == []
    assert asked == 3
    assert now > 60


def test_an_erasure_that_fails_to_be_asked_for_does_not_pile_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a statement waits for a server of the cluster that is away, and times out."""
    store.insert([row(1)])
    asked, now = 0, 0.0

    def command(*_: object) -> None:
        nonlocal asked
        asked += 1
        raise StoreUnavailable("159 TIMEOUT_EXCEEDED")

    monkeypatch.setattr(store, "command", command)
    deletion = Deletion(store, clock=lambda: now, sleep=lambda _: None)
    for now in range(0, 3600, 30):  # noqa: B007  # the clock reads it
        with monkeypatch.context() as hurried:
            hurried.setattr("stanzalake.store.deletion._ERASE_SECONDS", -1.0)
            with pytest.raises(StoreUnavailable):
                deletion.erase([erasure()])
    assert asked == 8


def test_with_an_account_its_wishes_are_gone(store: Store) -> None:
    histories = Histories(store)
    wishes = [Activation(v=VERSION, owner=JULIET, position=p) for p in (1, 300)]
    histories.write([*wishes, Activation(v=VERSION, owner=OTHER, position=1)])
    ended = erasure(account=True)
    histories.write([ended])
    Deletion(store).erase([ended])
    assert histories.read([JULIET])[JULIET] == (ended, wishes[1])
    rows = store.select(f"SELECT owner, position FROM {store.table}_preferences ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [(JULIET, 300), (OTHER, 1)]


def test_what_was_erased_is_on_record(store: Store) -> None:
    asked = [erasure(7, peer=ROMEO, by="the operator"), erasure(9, start=3, account=True)]
    erasures = Erasures(store)
    erasures.write(asked)
    erasures.write(asked)
    assert erasures.read([JULIET, OTHER]) == {JULIET: tuple(asked)}
    assert erasures.since(8) == [asked[1]]


async def test_the_bytes_leave_the_disk(clickhouse: ClickHouse) -> None:
    """By the parts: none that held them is left, active or not."""
    store = Store(clickhouse.dsn(), next(_names))
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    store.command(f"ALTER TABLE {store.table} MODIFY SETTING old_parts_lifetime = 0")
    store.insert([row(1), row(1, OTHER)])
    store.insert([row(2), row(2, OTHER)])
    before = _parts(store)
    deletion = Deletion(store)
    deletion.erase([erasure()])
    deletion.clean()
    await until(lambda: not deletion.rewriting())
    doomed = deletion.replaced()
    assert {name for _, _, name in doomed} >= before
    # The engine looks for old parts once in a while, when it has nothing else to do.
    await until(lambda: not doomed & deletion.replaced(), 110)
    assert not before & _parts(store)
    [(masked,)] = store.select(
        "SELECT countIf(has_lightweight_delete) FROM system.parts WHERE table = {table:String}",
        {"table": store.table},
    )
    assert masked == 0
    assert positions(store, OTHER) == [1, 2]


async def test_expired_messages_are_counted_and_removed(store: Store) -> None:
    store.insert([row(p * SECONDS) for p in (1, 2, 3)])
    store.insert([row(2 * SECONDS)])
    deletion = Deletion(store)
    expired = deletion.expired(3 * SECONDS)
    assert (expired.messages, expired.first, expired.last) == (2, SECONDS, 2 * SECONDS)
    deletion.expire(3 * SECONDS)
    await until(lambda: positions(store) == [3 * SECONDS])


async def test_the_cleaner_expires_and_erases_once_per_interval(store: Store) -> None:
    now = 10**9
    settings = load(PROSODY_ARCHIVE_EXPIRES_AFTER="100", PROSODY_ARCHIVE_CLEANUP_INTERVAL="60")
    old, erased, kept = (from_milliseconds(1000 * (now - age)) for age in (101, 50, 10))
    store.insert([row(position) for position in (old, erased, kept)])
    # A worker that was given up wrote it after the erasure had been carried out.
    Erasures(store).write([erasure(erased + 1)])
    cleaner = Cleaner(settings, store, Deletion(store), clock=lambda: now)
    assert cleaner.is_due(regular=True)
    cleaner.clean()
    await until(lambda: positions(store) == [kept])
    now += 59
    assert not cleaner.is_due(regular=True)
    now += 1
    assert cleaner.is_due(regular=True)
    assert not cleaner.is_due(regular=False)


def test_a_requested_clean_up_runs_at_most_every_ten_seconds(store: Store) -> None:
    now = 10**9
    cleaner = Cleaner(load(), store, Deletion(store), clock=lambda: now)
    cleaner.clean()
    for _ in range(1000):
        cleaner.request()
        assert not cleaner.is_due(regular=True)
    now += 10
    assert cleaner.is_due(regular=False)
    cleaner.clean()
    now += 10
    assert not cleaner.is_due(regular=True)


async def test_a_failed_step_of_the_clean_up_does_not_block_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.insert([row(p) for p in (1, 200)])
    deletion = Deletion(store)
    deletion.erase([erasure()])
    denied = StoreDenied("not this user")

    def expired(_: int) -> MessageSummary:
        raise denied

    monkeypatch.setattr(deletion, "expired", expired)
    Cleaner(load(), store, deletion).clean()
    await until(lambda: not deletion.rewriting())


def test_very_many_erasures_of_late_are_cleaned_up_after(store: Store) -> None:
    owners = [f"{'n' * 500}{n}@capulet.lit" for n in range(1000)]
    Erasures(store).write(erasure(owner=owner) for owner in owners)
    store.insert([row(1, owner) for owner in owners[::250]])
    kept = load(PROSODY_ARCHIVE_EXPIRES_AFTER="never", STANZALAKE_LOG_RETENTION="never")
    Cleaner(kept, store, Deletion(store)).clean()
    assert not any(positions(store, owner) for owner in owners[::250])


def _parts(store: Store) -> set[str]:
    rows = store.select(
        "SELECT name FROM system.parts WHERE table = {table:String}", {"table": store.table}
    )
    return {name for (name,) in rows}

"""The analysts' views over computed days are exact whatever happens, on both engines."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from io import BytesIO
from typing import Any

import pytest
from msgspec.structs import replace

from processor.cleaner import Cleaner
from stanzalake.model.event import VERSION, Erasure, OwnRetention
from stanzalake.model.position import MAX_POSITION, from_milliseconds
from stanzalake.model.retention import FOREVER, Retention
from stanzalake.store import aggregates, migrations
from stanzalake.store.aggregates import Aggregates
from stanzalake.store.client import Row, Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.erasures import Erasures
from stanzalake.store.expressions import MUC_USER
from stanzalake.store.own_retention import OwnRetentions
from stanzalake.store.tombstones import TombstoneRow, Tombstones
from tests.support.aggregates import VIEWS, age, compute, compute_months, now_of
from tests.support.archives import START
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.settings import load
from tests.support.stores import migrated_store
from tests.support.wait import until

DAY_MS = 86_400_000
DAYS = [date(2026, 9, 21) + timedelta(days=n) for n in range(3)]


def row(
    day: int, second: int, direction: str = "in", owner: str = JULIET, peer: str = ROMEO
) -> Row:
    position = from_milliseconds(START + day * DAY_MS + 1000 * second)
    return Row(owner, position, peer, "", direction, "chat", stanza())


SOME = ("daily", "owners", "monthly_owners")
"""Views for tests of what holds for all of them alike: each takes a tenth of a second to read."""
MONTHLY = [view for view in VIEWS if view.startswith("monthly")]
FAR = "benvolio@montague.lit"
MONTH, OCTOBER = date(2026, 9, 1), date(2026, 10, 1)
HALL = "hall@rooms.capulet.lit"
IN_ROOM = [
    row(day, 10 + second, owner=HALL, peer=HALL)._replace(kind="groupchat", peer_resource="Romeo")
    for day in range(3)
    for second in range(2)
]
ROWS = [row(day, second, ("in", "out")[second % 2]) for day in range(3) for second in range(4)]


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    with migrated_store(dsn) as store:
        store.insert(ROWS + IN_ROOM)
        yield store


def contents(store: Store, *views: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of views, of all if none are named."""
    return {view: rows for view, (rows, _) in read(store, *views).items()}


def read(store: Store, *views: str) -> dict[str, tuple[list[tuple[Any, ...]], bool]]:
    """Return the rows of views, and whether they are as of a computation, by what they say.

    To read a view takes a quarter of a second of CPU time.
    """
    return {view: _read(store, view) for view in views or VIEWS}


def _read(store: Store, view: str) -> tuple[list[tuple[Any, ...]], bool]:
    computed = "as_of < now64(6, 'UTC') - INTERVAL 1 HOUR"
    found = store.select(f"SELECT {computed}, {VIEWS[view]} FROM {store.table}_{view}")
    return sorted(tuple(r) for _, *r in found), all(computed for computed, *_ in found)


def read_recent(store: Store) -> None:
    """Read the messages of the days of the test, as of the last of them."""
    Aggregates(store, "", FOREVER).read_recent((START + 2 * DAY_MS) / 1000)


def has_recent(store: Store) -> bool:
    """Return whether views use the last reading of recent messages."""
    [(block,)] = store.select(f"SELECT block FROM {store.table}_last_read")
    return bool(block)


def months_computed(store: Store) -> list[date]:
    return [month for (month,) in store.select(f"SELECT month FROM {store.table}_clean_months")]


def days_computed(store: Store) -> list[date]:
    return [day for (day,) in store.select(f"SELECT day FROM {store.table}_clean ORDER BY day")]


def test_computed_days_have_the_rows_of_counted_ones(store: Store) -> None:
    before = contents(store)
    assert all(before.values())
    age(store)
    assert compute(store) == DAYS[::-1]
    assert days_computed(store) == DAYS
    assert read(store) == {view: (before[view], view not in MONTHLY) for view in VIEWS}
    store.command(f"TRUNCATE TABLE {store.table}_daily_rows")
    assert contents(store, "daily")["daily"] == []  # no message is read for a computed day
    assert compute(store) == []


def test_days_counted_together_have_the_rows_of_each_day_alone(store: Store) -> None:
    """Of a room by its private messages of one day, and not of the next."""
    mark = f"<x xmlns='{MUC_USER}'/>"
    passed_on = row(0, 20, "in", JULIET, HALL)._replace(
        peer_resource="Romeo", stanza=stanza("", mark)
    )
    of_hosts = [row(1, 20, "out", ROMEO, HALL), row(1, 21, "in", JULIET, HALL)]
    store.insert([passed_on, *of_hosts])
    together = contents(store, "pairs", "response_times")
    assert sorted(r[-1] for r in together["pairs"] if r[0] == DAYS[1]) == [1, 1, 2, 2]
    age(store)
    compute(store)
    assert days_computed(store) == DAYS
    assert contents(store, "pairs", "response_times") == together


def test_days_are_computed_together_as_far_as_their_messages_fit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(store, *SOME, "response_times")
    found, (first, second, third) = Aggregates(store, "", FOREVER), DAYS
    assert list(found.batches([])) == []
    assert list(found.batches(DAYS)) == [DAYS]
    monkeypatch.setattr(aggregates, "_BATCH_MESSAGES", 12)
    assert list(found.batches(DAYS)) == [[first, second], [third]]
    monkeypatch.setattr(aggregates, "_BATCH_MESSAGES", 1)
    assert list(found.batches(DAYS)) == [[first], [second], [third]]
    monkeypatch.undo()
    monkeypatch.setattr(aggregates, "_BATCH_DAYS", 2)
    assert list(found.batches(DAYS)) == [[first, second], [third]]
    age(store)
    found.compute([third, first])
    age(store)
    assert days_computed(store) == [first, third]
    assert contents(store, *SOME, "response_times") == before


def test_an_answer_over_midnight_changes_with_the_evening_before(store: Store) -> None:
    midnight = 86_400 - START % DAY_MS // 1000
    store.insert([row(0, midnight + 10, "out")])
    age(store)
    compute(store)
    answer = (DAYS[1], "capulet.lit", "owner", 30.0, 1)
    assert answer not in contents(store, "response_times")["response_times"]
    store.insert([row(0, midnight - 20)])
    assert days_computed(store) == [DAYS[2]]
    counted = contents(store, "response_times")
    assert answer in counted["response_times"]
    age(store)
    assert compute(store) == [DAYS[1], DAYS[0]]
    assert contents(store, "response_times") == counted


def test_a_reaction_is_no_answer_nor_is_what_comes_after_a_day(store: Store) -> None:
    before = contents(store, "response_times")["response_times"]
    reaction = stanza("", "<reactions id='x' xmlns='urn:xmpp:reactions:0'/>")
    asked, answered, late = (
        row(0, 100, peer=FAR),
        row(0, 130, "out", peer=FAR),
        row(1, 131, peer=FAR),
    )
    reacted = row(0, 110, "out", peer=FAR)._replace(stanza=reaction)
    store.insert([asked, reacted, answered, late])
    after = contents(store, "response_times")["response_times"]
    assert set(after) - set(before) == {(DAYS[0], "capulet.lit", "owner", 30.0, 1)}
    assert set(before) <= set(after)


def test_repeats_late_rows_and_erasures_show_at_once_and_in_the_next_computation(
    store: Store,
) -> None:
    age(store)
    compute(store)
    store.insert([row(1, 0), row(1, 9, "out"), row(0, 5, "in", ROMEO, JULIET)])
    end = row(2, 3, "out").position
    Erasures(store).write(
        [Erasure(v=VERSION, owner=JULIET, position=end + 1, peer=ROMEO, start=end - 1, end=end + 1)]
    )
    assert days_computed(store) == []
    changed = contents(store, *SOME, "pairs", "contents", "response_times")
    totals = {day: sum(r[-1] for r in changed["daily"] if r[0] == day) for day in DAYS}
    assert totals == {DAYS[0]: 7, DAYS[1]: 7, DAYS[2]: 5}
    age(store)
    assert compute(store) == DAYS[::-1]
    assert contents(store, *SOME, "pairs", "contents", "response_times") == changed


def test_an_erasure_changes_the_days_of_what_it_hides(store: Store) -> None:
    age(store)
    compute(store)
    first = row(0, 0).position
    Erasures(store).write(
        [Erasure(v=VERSION, owner=JULIET, position=first + 1, start=first, end=first + 1)]
    )
    assert days_computed(store) == [DAYS[2]]
    counted = contents(store, "daily")
    assert sum(r[-1] for r in counted["daily"] if r[0] == DAYS[0]) == 5
    age(store)
    assert compute(store) == [DAYS[1], DAYS[0]]
    assert contents(store, "daily") == counted


@pytest.mark.parametrize("keep", [False, True])
def test_a_day_changes_with_the_removal_of_what_was_retracted(store: Store, keep: bool) -> None:
    age(store)
    compute(store)
    asked = from_milliseconds(1000 * now_of(store))
    tombstone = TombstoneRow(JULIET, asked, f"in\n{ROMEO}\nm", ROMEO, ROMEO, "", "<retracted/>")
    Tombstones(store).write([tombstone])
    deletion = Deletion(store, keep_retracted=keep)
    deletion.step(now_of(store))
    assert days_computed(store) == []
    counted = contents(store, "contents")
    assert sum(r[-1] for r in counted["contents"] if r[-2] == 0) == 6
    age(store)
    assert compute(store) == DAYS[::-1]
    assert contents(store, "contents") == counted
    deletion.step(now_of(store))
    assert days_computed(store) == DAYS


@pytest.mark.parametrize(("former", "latter"), [("never", "1d"), ("1d", "never")])
def test_all_days_change_with_the_retention(store: Store, former: str, latter: str) -> None:
    keeps = {"PROSODY_ARCHIVE_STORE": store.table}
    migrations.apply(store, load(**keeps, PROSODY_ARCHIVE_EXPIRES_AFTER=former))
    age(store)
    compute(store)
    assert days_computed(store) == DAYS
    migrations.apply(store, load(**keeps, PROSODY_ARCHIVE_EXPIRES_AFTER=latter))
    assert days_computed(store) == []
    left = {r[0] for r in contents(store, "daily")["daily"]}
    assert left == (set(DAYS) if latter == "never" else set())


def test_the_first_day_of_all_has_no_evening_before_it(store: Store) -> None:
    """As of a server that started with its clock at 0."""
    store.insert([Row(JULIET, from_milliseconds(5000), ROMEO, "", "in", "chat", stanza())])
    before = contents(store, *SOME, "response_times")
    assert len({r[0] for r in before["daily"]}) == 4
    age(store)
    assert compute(store) == [*DAYS[::-1], date(1970, 1, 1)]
    assert contents(store, *SOME, "response_times") == before


def test_the_last_day_of_all_has_what_is_dated_behind_it(store: Store) -> None:
    """As of a clock that was far ahead."""
    last = 2**32 * 1000
    positions = (*(from_milliseconds(at) for at in (last - 1, last, 2**42)), MAX_POSITION)
    store.insert([row(0, 0)._replace(position=position) for position in positions])
    before = contents(store, *SOME)
    assert before["daily"][-1] == (date(2106, 2, 7), "capulet.lit", "chat", "in", len(positions))
    age(store)
    compute(store)
    assert contents(store, *SOME) == before


def test_computed_months_have_the_rows_of_their_days(store: Store) -> None:
    before = contents(store, *MONTHLY)
    age(store)
    assert compute_months(store) == []
    compute(store)
    assert compute_months(store) == [MONTH]
    assert months_computed(store) == [MONTH]
    assert read(store, *MONTHLY) == {view: (before[view], True) for view in MONTHLY}
    for of_days in ("owners", "pairs"):
        store.command(f"TRUNCATE TABLE {store.table}_{of_days}_rows")
    assert contents(store, *MONTHLY) == before  # no day is read
    assert compute_months(store) == []


def test_a_month_changes_at_once_with_each_of_its_days(store: Store) -> None:
    age(store)
    compute(store)
    compute_months(store)
    store.insert([row(1, 9, "out"), row(12, 0)])
    assert months_computed(store) == []
    changed = contents(store, *MONTHLY)
    assert {r[0]: r[-1] for r in changed["monthly_conversations"]} == {MONTH: 13, OCTOBER: 1}
    age(store)
    compute(store)
    assert compute_months(store) == [OCTOBER, MONTH]
    assert contents(store, *MONTHLY) == changed


def test_a_month_is_computed_again_after_its_days(store: Store) -> None:
    """As when messages expire, which is no change that anybody makes."""
    age(store)
    compute(store)
    compute_months(store)
    Aggregates(store, "", FOREVER).compute([DAYS[0]])
    assert compute_months(store) == []  # the day is not in effect yet
    assert compute_months(store) == [MONTH]


def test_who_wrote_back_within_a_month_is_told_of_each_sender(store: Store) -> None:
    store.insert([row(0, 20, "out", JULIET, FAR), row(12, 0, "in", JULIET, FAR)])
    age(store)
    compute(store)
    compute_months(store)
    senders = sorted(
        tuple(r[2:]) for r in contents(store, "monthly_senders")["monthly_senders"] if r[0] == MONTH
    )
    assert senders == [(6, 1, 1), (7, 2, 1)]


def test_a_day_that_an_older_version_computed_is_counted(store: Store) -> None:
    before = contents(store, *SOME)
    age(store)
    compute(store)
    store.command(
        f"ALTER TABLE {store.table}_computed UPDATE aggregates = 5 WHERE true"
        " SETTINGS mutations_sync = 2"
    )
    store.command(f"TRUNCATE TABLE {store.table}_owners_rows")
    assert days_computed(store) == []
    assert contents(store, *SOME) == before
    assert compute(store) == DAYS[::-1]
    assert contents(store, *SOME) == before


def test_a_day_is_not_computed_while_it_changes(store: Store) -> None:
    found = Aggregates(store, "", FOREVER)
    now = now_of(store)
    assert list(found.due(now)) == []
    assert list(found.due(now + 660)) == DAYS[::-1]


def test_an_interrupted_computation_is_not_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(store, *SOME)
    age(store)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "insert", lambda *_: None)
        compute(store)
    assert days_computed(store) == []
    assert contents(store, *SOME) == before
    compute(store)
    assert days_computed(store) == DAYS
    assert contents(store, *SOME) == before


def test_a_day_is_computed_again_while_its_messages_expire(store: Store) -> None:
    age(store)
    compute(store)
    now = now_of(store)
    begins = START // DAY_MS * DAY_MS // 1000
    expiring = [now - begins + 90_000, now - begins + 82_800, now - begins - 3600]
    due = [list(Aggregates(store, "", Retention(period)).due(now)) for period in expiring]
    assert due == [[], [DAYS[0]], [DAYS[1], DAYS[0]]]


def test_a_day_is_computed_again_while_an_owner_keeps_its_messages_no_longer(store: Store) -> None:
    age(store)
    compute(store)
    now, found = now_of(store), Aggregates(store, "", FOREVER)
    choice = OwnRetention(
        v=VERSION,
        owner=JULIET,
        position=from_milliseconds(1000 * now),
        seconds=now - START // DAY_MS * DAY_MS // 1000 + DAY_MS // 1000 + 60,
    )
    OwnRetentions(store).write([choice])
    assert list(found.due(now)) == []
    assert list(found.due(now + 120)) == [DAYS[0]]
    OwnRetentions(store).write([replace(choice, position=choice.position + 1, seconds=3600)])
    assert days_computed(store) == []
    assert {r[1] for r in contents(store, "daily")["daily"]}.isdisjoint({"capulet.lit"})


def test_former_computations_leave_the_disk(store: Store) -> None:
    age(store)
    compute(store)
    compute_months(store)
    store.insert([row(1, 9)])
    age(store)
    assert compute(store) == [DAYS[2], DAYS[1]]
    assert compute_months(store) == [MONTH]
    before = contents(store, *SOME)
    Aggregates(store, "", FOREVER).remove_former(now_of(store))
    clean = {
        "day": store.select(f"SELECT day, as_of FROM {store.table}_clean"),
        "month": store.select(f"SELECT month, as_of FROM {store.table}_clean_months"),
    }
    for view in VIEWS:
        table = f"{store.table}_{view}_rows"
        period = "month" if view.startswith("monthly") else "day"
        store.command(f"ALTER TABLE {table} DELETE WHERE false SETTINGS mutations_sync = 2")
        left = store.select(f"SELECT DISTINCT {period}, as_of FROM {table}")
        assert set(map(tuple, left)) == {tuple(r) for r in clean[period]}
    assert contents(store, *SOME) == before


async def test_a_worker_computes_the_days_that_are_due(store: Store) -> None:
    age(store)
    cleaner = Cleaner(load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"), store)
    await cleaner.aggregate(asyncio.Event())
    age(store)
    assert days_computed(store) == DAYS
    await cleaner.aggregate(asyncio.Event())
    age(store)
    assert months_computed(store) == [MONTH]
    assert store.select("SELECT is_read FROM {recent_reads:Identifier} FINAL") == [(True,)]


@pytest.mark.parametrize(("interval", "every"), [("1d", 3600), ("600", 600)])
async def test_days_are_computed_once_an_hour_or_in_each_interval(
    store: Store, interval: str, every: int
) -> None:
    elapsed = 0.0
    settings = load(PROSODY_ARCHIVE_CLEANUP_INTERVAL=interval)
    cleaner = Cleaner(settings, store, elapsed=lambda: elapsed)
    assert not cleaner.is_aggregation_due()
    cleaner.regular = True
    assert cleaner.is_aggregation_due()
    await cleaner.aggregate(asyncio.Event())
    elapsed += every - 1
    assert not cleaner.is_aggregation_due()
    elapsed += 1
    assert cleaner.is_aggregation_due()


async def test_a_running_worker_computes_days_in_the_background(store: Store) -> None:
    age(store)
    cleaner = Cleaner(load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"), store)
    cleaner.regular = True
    stop = asyncio.Event()
    running = asyncio.create_task(cleaner.run(stop))
    computed = f"SELECT uniqExact(day) FROM {store.table}_computed"
    await until(lambda: store.select(computed) == [(len(DAYS),)])
    stop.set()
    await running


def test_a_restore_has_all_days_counted(store: Store) -> None:
    age(store)
    compute(store)
    aggregates.touch_all(store)
    assert days_computed(store) == []


def test_a_query_for_a_computed_day_reads_no_message(store: Store) -> None:
    age(store)
    compute(store)
    plan = store.select(
        f"EXPLAIN indexes = 1 SELECT * FROM {store.table}_daily WHERE day = '2026-09-21'"
    )
    assert "Parts: 0/1" in str(plan)


def rows_read(store: Store, statement: str) -> int:
    file = BytesIO()
    store.download(statement, {}, "JSON", file)
    return int(json.loads(file.getvalue())["statistics"]["rows_read"])


def test_a_query_for_a_computed_day_reads_no_message_of_days_that_changed(store: Store) -> None:
    age(store)
    compute(store)
    store.insert([row(2, 10 + second) for second in range(3000)])
    for view in ("daily", "pairs", "response_times", "contents"):
        query = f"SELECT * FROM {store.table}_{view} WHERE day = '2026-09-{{}}'"
        assert rows_read(store, query.format(23)) > 3000, view
        assert rows_read(store, query.format(21)) < 1000, view


@pytest.fixture
def recent(store: Store) -> Store:
    """Give a store whose last day changed, and was read then."""
    age(store)
    compute(store)
    store.insert([row(2, 10), row(2, 11, "out"), row(2, 12, "in", ROMEO, JULIET)])
    read_recent(store)
    assert has_recent(store)
    return store


def test_recent_messages_count_once_wherever_their_parts_are_merged_to(recent: Store) -> None:
    store, views = recent, ("daily", "pairs", "contents", "response_times", "occupants")
    store.insert([row(2, 10), row(2, 14), row(2, 1, "out"), row(2, 13, "out"), row(3, 0)])
    store.command(f"OPTIMIZE TABLE {store.table} FINAL")
    assert has_recent(store)
    used = contents(store, *views)
    store.command(migrations.FORGET_RECENT)
    assert not has_recent(store)
    assert contents(store, *views) == used
    assert sum(r[-1] for r in used["daily"] if r[0] == DAYS[2]) == 4 + 2 + 3 + 2


def test_recent_messages_are_not_read_again_with_their_texts(recent: Store) -> None:
    recent.command(f"TRUNCATE TABLE {recent.table}_recent")
    assert [r for r in contents(recent, "daily")["daily"] if r[0] == DAYS[2]] == []


@pytest.mark.parametrize("change", ["erasure", "own retention", "restore", "older day"])
def test_recent_messages_are_read_again_once_some_are_hidden(recent: Store, change: str) -> None:
    position = row(2, 10).position
    end = position + 1
    changes: dict[str, Callable[[], object]] = {
        "erasure": lambda: Erasures(recent).write(
            [Erasure(v=VERSION, owner=JULIET, position=end, start=position, end=end)]
        ),
        "own retention": lambda: OwnRetentions(recent).write(
            [OwnRetention(v=VERSION, owner=JULIET, position=position + 9, seconds=1)]
        ),
        "restore": lambda: aggregates.touch_all(recent),
        "older day": lambda: recent.insert([row(0, 30)]),
    }
    before = contents(recent, "daily")["daily"]
    changes[change]()
    assert not has_recent(recent)
    assert contents(recent, "daily")["daily"] != before or change == "restore"


def test_former_readings_of_recent_messages_leave_the_disk(recent: Store) -> None:
    former = f"SELECT DISTINCT as_of FROM {recent.table}_recent"
    [(first,)] = recent.select(former)
    read_recent(recent)
    Aggregates(recent, "", FOREVER).remove_former(now_of(recent))
    assert len(recent.select(former)) == 2  # a statement may have begun with the first
    Aggregates(recent, "", FOREVER).remove_former(now_of(recent) + 660)
    [(last,)] = recent.select(former)
    assert last > first
    assert has_recent(recent)


def test_computed_days_are_counted_anew_in_another_time_zone(store: Store) -> None:
    age(store)
    compute(store)
    hours = {hour for _, _, hour, *_ in contents(store, "contents")["contents"]}
    keeps = {"PROSODY_ARCHIVE_STORE": store.table, "PROSODY_ARCHIVE_EXPIRES_AFTER": "never"}
    migrations.apply(store, load(**keeps, STANZALAKE_TIME_ZONE="Asia/Kolkata"))
    assert days_computed(store) == []
    assert {hour for _, _, hour, *_ in contents(store, "contents")["contents"]}.isdisjoint(hours)

"""Changes of the partitions of the messages, on both engines."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from stanzalake.errors import StoreUnavailable
from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import FOREVER
from stanzalake.store import migrations, partitions, table_copy
from stanzalake.store.aggregates import Aggregates
from stanzalake.store.client import Row, Store
from stanzalake.store.migrations import Target
from stanzalake.store.partitions import Partitions
from tests.support.archives import START
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.settings import load
from tests.support.stores import migrated_store

DAY = 86_400_000
MONTHS = 13
NEVER = load(PROSODY_ARCHIVE_EXPIRES_AFTER="never")


class DyingStore(Store):
    """A store whose process dies after a number of calls."""

    calls = 0
    last = 0

    def _call(self) -> None:
        self.calls += 1
        if self.calls > self.last:
            raise StoreUnavailable("the process is dead")

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        self._call()
        super().command(statement, parameters)

    def insert(self, rows: Sequence[Any], suffix: str = "") -> None:
        self._call()
        super().insert(rows, suffix)


@pytest.fixture
def store(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(table_copy, "_PIECE_ROWS", 3)
    monkeypatch.setattr(partitions, "_FEW", 5)
    with migrated_store(dsn, partition_by="month") as store:
        yield store


@pytest.fixture
def filled(store: Store) -> Store:
    """Give the store with messages of two owners, of more than a year."""
    store.insert(messages(JULIET, 3))
    store.insert(messages(ROMEO, 1))
    return store


def messages(owner: str, number: int, months: int = MONTHS) -> list[Row]:
    """Return messages of an owner, some in each month."""
    days = [30 * month + n for month in range(months) for n in range(number)]
    return [
        Row(owner, from_milliseconds(START + day * DAY), ROMEO, "", "in", "chat", stanza(f"{day}"))
        for day in days
    ]


def change(store: Store, partition_by: str = "year") -> Partitions:
    return Partitions(store, Target(store.table, partition_by=partition_by))


def stored(store: Store) -> set[Row]:
    rows = store.select(
        f"SELECT DISTINCT {', '.join(Row._fields)} FROM {store.table} ORDER BY owner, position"
    )
    return {Row(*row) for row in rows}


def partitions_of(store: Store) -> int:
    [(number,)] = store.select(f"SELECT uniqExact(_partition_id) FROM {store.table}")
    return int(number)


def definition(store: Store) -> str:
    [(text,)] = store.select(
        "SELECT create_table_query FROM system.tables"
        f" WHERE database = currentDatabase() AND name = '{store.table}'"
    )
    return str(text)


def test_partitions_change_to_those_of_the_settings_and_back(filled: Store) -> None:
    rows, before = stored(filled), definition(filled)
    months = partitions_of(filled)
    assert change(filled, "month").current() == "month"
    for partition_by, fewest in (("quarter", 4), ("year", 1), ("month", months)):
        changed = change(filled, partition_by)
        assert changed.is_due()
        changed.change()
        assert not changed.is_due()
        assert changed.current() == partition_by
        assert stored(filled) == rows
        assert fewest <= partitions_of(filled) <= months
    assert definition(filled) == before
    assert migrations.pending_changes(filled, NEVER) == []


def test_progress_counts_the_rows_up_to_all(filled: Store) -> None:
    seen: list[tuple[int, int]] = []
    change(filled).change(lambda done, total: seen.append((done, total)))
    assert (0, 0) not in seen
    assert seen[-1][0] == seen[-1][1]
    assert max(seen) == (4 * MONTHS, 4 * MONTHS)


def test_messages_that_arrive_during_a_change_are_in_the_archive(filled: Store) -> None:
    rows = [*messages("nurse@capulet.lit", 2), *messages("tybalt@capulet.lit", 1)]
    expected = stored(filled) | set(rows)

    def arrive(*_: int) -> None:
        if rows:
            filled.insert([rows.pop()])

    change(filled).change(arrive)
    assert rows == []
    assert stored(filled) == expected


def test_views_count_the_days_of_inserts_after_a_change(filled: Store) -> None:
    Aggregates(filled, "", FOREVER).read_recent(START / 1000)
    change(filled).change()
    last = "SELECT argMax(is_read, at) FROM {recent_reads:Identifier}"
    assert filled.select(last) == [(False,)]  # the table's inserts are numbered anew
    filled.command(f"TRUNCATE TABLE {filled.table}_touched")
    filled.insert(messages(JULIET, 1)[:1])
    assert filled.select(f"SELECT count() FROM {filled.table}_touched") == [(1,)]


@pytest.mark.slow
@pytest.mark.parametrize("dsn", ["chdb://:memory:"])
def test_a_change_that_dies_at_any_moment_loses_nothing_and_is_finished_by_the_next(
    dsn: str, store: Store
) -> None:
    dying = DyingStore(dsn, store.table)
    store.insert(messages(JULIET, 3, months=2))
    wanted, expected = ["year", "month"], stored(store)
    late = iter(messages("nurse@capulet.lit", 28, months=2))
    last = 0
    while dying.calls >= last:
        last += 1
        dying.calls, dying.last = 0, last
        target = wanted[last % 2]
        with suppress(StoreUnavailable):
            change(dying, target).change()
        # As every start of the services does: inserts may have been refused at that moment.
        migrations.apply(store, load(STANZALAKE_PARTITION_BY=target))
        row = next(late)
        store.insert([row])
        expected.add(row)
        assert stored(store) == expected
        change(store, target).change()
        assert stored(store) == expected
        assert change(store, target).current() == target
    dying.close()


def test_a_change_begins_anew_once_a_migration_has_added_a_column(dsn: str, store: Store) -> None:
    dying = DyingStore(dsn, store.table)
    store.insert(messages(JULIET, 3, months=2))
    dying.last = 8
    with pytest.raises(StoreUnavailable):
        change(dying).change()
    dying.close()
    store.command(f"ALTER TABLE {store.table} ADD COLUMN later String DEFAULT 'x'")
    change(store).change()
    assert "`later` String DEFAULT 'x'" in definition(store)
    assert change(store).current() == "year"

"""The store client and the schema, on both engines."""

import os
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from stanzalake.errors import (
    ResultTooLarge,
    RowRefused,
    SchemaAhead,
    SchemaBehind,
    StoreRefused,
)
from stanzalake.model.position import from_milliseconds
from stanzalake.store import migrations
from stanzalake.store.client import DENIED, ROW_ERRORS, TRANSIENT, Row, Store
from tests.support import schemas
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.kills import killed_behind
from tests.support.settings import load
from tests.support.stores import ON_BOTH_STORES, empty_store, migrated_store

pytestmark = ON_BOTH_STORES

YEAR = 31_556_952
NOW = 1_790_000_000_000
SETTINGS = load(PROSODY_ARCHIVE_EXPIRES_AFTER="never")


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    store = empty_store(dsn)
    yield store
    store.close()


def row(position: int, text: str | None = None, peer_resource: str = "orchard") -> Row:
    return Row(JULIET, position, ROMEO, peer_resource, "in", "chat", text or stanza())


def definition(store: Store, suffix: str = "") -> str:
    [(text,)] = store.select(
        "SELECT create_table_query FROM system.tables WHERE name = {name:String}",
        {"name": store.table + suffix},
    )
    return str(text)


def merge(store: Store) -> None:
    store.command(f"OPTIMIZE TABLE {store.table} FINAL")


def priorities(name: str) -> list[int]:
    """Return the nice values of this process's threads of a name."""
    threads = Path("/proc/self/task").glob("*")
    named = [int(one.name) for one in threads if (one / "comm").read_text().strip() == name]
    return [os.getpriority(os.PRIO_PROCESS, thread) for thread in named]


def positions(store: Store) -> list[int]:
    return [p for (p,) in store.select(f"SELECT position FROM {store.table} ORDER BY position")]


def test_the_stores_of_other_tests_have_the_schema_that_migrations_make(
    store: Store, dsn: str
) -> None:
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    with migrated_store(dsn) as copy:
        assert schemas.definitions(copy) == schemas.definitions(store)
        assert migrations.apply(copy, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never")) == []


def test_statements_run_concurrently(store: Store) -> None:
    with ThreadPoolExecutor(1) as thread:
        long = thread.submit(store.select, "SELECT sleepEachRow(0.5) FROM numbers(6)")
        until_running(store, "sleepEachRow")
        assert store.select("SELECT 1") == [(1,)]
        assert not long.done()


def test_a_statement_that_fails_leaves_nothing_to_the_next(store: Store) -> None:
    """A result that is cut at its bound has rows by then, which are not the next one's."""
    cut = (
        "SELECT number, repeat('a', 100) FROM numbers(1000)"
        " SETTINGS max_block_size = 100, max_result_rows = 500, result_overflow_mode = 'throw'"
    )
    for _ in range(4):
        with pytest.raises(ResultTooLarge):
            store.select(cut)
        assert store.select("SELECT 'next'") == [("next",)]


def until_running(store: Store, part: str) -> None:
    """Wait until a statement that contains the text is running."""
    statement = (
        "SELECT count() FROM system.processes"
        " WHERE position(query, {part:String}) > 0 AND position(query, 'processes') = 0"
    )
    deadline = time.monotonic() + 10
    while not store.select(statement, {"part": part})[0][0]:
        assert time.monotonic() < deadline


def test_every_migration_is_applied_once(store: Store) -> None:
    names = [migration.name for migration in migrations.all_migrations()]
    assert migrations.apply(store, load()) == names
    before = definition(store)
    assert migrations.apply(store, load()) == []
    assert definition(store) == before


def test_a_table_altered_by_settings_equals_a_fresh_one(store: Store, dsn: str) -> None:
    changed = load(
        PROSODY_ARCHIVE_EXPIRES_AFTER="90d",
        PROSODY_ARCHIVE_COMPRESSION="false",
        PROSODY_ARCHIVE_CLEANUP_INTERVAL="604800",
    )
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    migrations.apply(store, changed)
    fresh = empty_store(dsn)
    migrations.apply(fresh, changed)
    for suffix in ("", "_bodies"):
        migrated, expected = (
            definition(one, suffix).replace(one.table, "t") for one in (store, fresh)
        )
        assert migrated == expected
    fresh.close()


@pytest.mark.parametrize(
    "left", [55, 20, 0], ids=["between tables", "between views", "before the record"]
)
def test_a_new_store_is_completed_after_a_kill(
    store: Store, dsn: str, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    target = migrations.Target.of(store, SETTINGS)
    writes = [*target.record(), *target.of_new_store()]
    with killed_behind(len(writes) - left, monkeypatch) as is_killed:
        migrations.apply(store, SETTINGS)
    assert is_killed
    assert len(migrations.apply(store, SETTINGS)) == len(list(migrations.all_migrations()))
    with migrated_store(dsn) as whole:
        assert schemas.definitions(store) == schemas.definitions(whole)


def test_a_schema_behind_names_the_command_to_run(store: Store) -> None:
    with pytest.raises(SchemaBehind, match=r"lacks 001 messages.*: run stanzalake migrate"):
        migrations.check(store)
    migrations.apply(store, load())
    migrations.check(store)
    store.command(
        f"ALTER TABLE {store.table}_migrations DELETE WHERE number = 2 SETTINGS mutations_sync = 1"
    )
    with pytest.raises(SchemaBehind, match="lacks 002 preferences:"):
        migrations.check(store)


def test_a_schema_of_a_later_version_than_the_next_is_refused(store: Store) -> None:
    migrations.apply(store, load())
    insert = "INSERT INTO {migrations:Identifier} (number, version) VALUES"
    store.command(f"{insert} (998, '0.2.5')")
    migrations.check(store)
    store.command(f"{insert} (999, '0.3.0')")
    for use in (migrations.check, lambda store: migrations.apply(store, load())):
        with pytest.raises(SchemaAhead, match=r"of version 0\.3\.0, and this is 0\.1\.0"):
            use(store)


def test_a_record_of_migrations_without_versions_is_taken(store: Store) -> None:
    migrations.apply(store, load())
    store.command(f"ALTER TABLE {store.table}_migrations DROP COLUMN version")
    migrations.check(store)
    assert migrations.apply(store, load()) == []


def test_the_table_follows_the_settings(store: Store) -> None:
    migrations.apply(store, load())
    assert f"- {YEAR}, 0)" in definition(store, "_bodies")
    assert "`stanza` String CODEC(ZSTD(3))" in definition(store)
    changed = load(PROSODY_ARCHIVE_EXPIRES_AFTER="90d", PROSODY_ARCHIVE_COMPRESSION="false")
    assert len(migrations.pending_changes(store, changed)) == 2
    migrations.apply(store, changed)
    assert f"- {90 * 86_400}, 0)" in definition(store, "_bodies")
    assert "`stanza` String CODEC(NONE)" in definition(store)
    assert migrations.pending_changes(store, changed) == []


def test_the_ttl_of_an_older_version_is_removed(store: Store) -> None:
    """Expired rows leave by a mutation, and a TTL would rewrite their parts once more."""
    migrations.apply(store, load())
    fresh = definition(store)
    for change in (
        "MODIFY TTL toDateTime(intDiv(position, 65536000), 'UTC') + toIntervalSecond(60)",
        "MODIFY SETTING merge_with_ttl_timeout = 86400",
    ):
        store.command(f"ALTER TABLE {store.table} {change}")
    migrations.apply(store, load())
    assert definition(store) == fresh


@pytest.mark.requirement("313-118")
def test_inserting_a_row_again_is_idempotent(store: Store) -> None:
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    position = from_milliseconds(NOW)
    for _ in range(3):
        store.insert([row(position)])
    merge(store)
    assert positions(store) == [position]


def test_inserts_go_on_when_a_column_gets_another_type(store: Store) -> None:
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    store.insert([row(1)])
    store.command("ALTER TABLE {messages:Identifier} MODIFY COLUMN peer LowCardinality(String)")
    store.insert([row(2)._replace(peer="tybalt@capulet.lit")])
    peers = store.select("SELECT peer FROM {messages:Identifier} ORDER BY position")
    assert [peer for (peer,) in peers] == [row(1).peer, "tybalt@capulet.lit"]


def test_the_at_column_derives_from_the_position(store: Store) -> None:
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    store.insert([row(from_milliseconds(1_790_000_000_123, 7))])
    assert store.select(f"SELECT toString(at), day FROM {store.table}_traffic") == [
        ("2026-09-21 14:13:20.123", date(2026, 9, 21))
    ]


def test_any_text_is_stored_unchanged(store: Store) -> None:
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    text = "'\"\\`;-- \t\r\n\x01{x:String} 🌹 \u2028"
    store.insert([row(1, text, peer_resource=text)])
    assert store.select(f"SELECT stanza, peer_resource FROM {store.table}") == [(text, text)]
    found = store.select(
        f"SELECT count() FROM {store.table} WHERE stanza = {{text:String}}", {"text": text}
    )
    assert found == [(1,)]


def test_engine_errors_are_reported_without_values(store: Store) -> None:
    with pytest.raises(StoreRefused, match="UNKNOWN_TABLE") as caught:
        store.insert([row(1, "secret")])
    assert "secret" not in str(caught.value)
    assert not isinstance(caught.value, RowRefused)
    migrations.apply(store, load())
    with pytest.raises(RowRefused) as caught:
        store.insert([row(1)._replace(position=-1)])
    assert JULIET not in str(caught.value)


def test_the_cause_of_an_error_is_kept_without_values(store: Store) -> None:
    with pytest.raises(StoreRefused) as caught:
        store.select("SELECT toUInt8('secret')")
    logged = "".join(traceback.format_exception(caught.value))
    assert "error 6 CANNOT_PARSE_TEXT" in logged
    assert "clickhouse_connect" in logged
    assert "'secret'" not in logged.replace("store.select(\"SELECT toUInt8('secret')\")", "")


def test_a_refused_row_is_told_apart_from_a_refused_statement(store: Store) -> None:
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    store.command(f"ALTER TABLE {store.table} ADD CONSTRAINT c CHECK length(peer_resource) < 20")
    with pytest.raises(RowRefused, match="VIOLATED_CONSTRAINT") as caught:
        store.insert([row(1), row(2, peer_resource="secret" * 9), row(3)])
    assert "secret" not in str(caught.value)
    assert positions(store) == []
    with pytest.raises(StoreRefused) as refused:
        store.select("SELECT toUInt8('secret')")
    assert not isinstance(refused.value, RowRefused)


def test_a_batch_may_touch_any_number_of_partitions(store: Store) -> None:
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    months = [from_milliseconds(n * 31 * 86_400_000) for n in range(200)]
    store.insert([row(position) for position in months])
    assert positions(store) == months


def test_error_codes_have_the_names_of_the_engine(store: Store) -> None:
    known = TRANSIENT | DENIED | ROW_ERRORS
    named = store.select(
        "SELECT arrayJoin({codes:Array(UInt16)}) AS code, errorCodeToName(code)",
        {"codes": sorted(known)},
    )
    assert named == sorted(known.items())


def test_a_parameter_may_exceed_the_length_of_a_url(store: Store) -> None:
    positions = list(range(15_000))
    found = store.select("SELECT length({positions:Array(UInt64)})", {"positions": positions})
    assert found == [(15_000,)]


def test_merges_in_the_own_process_give_way_to_statements(store: Store, dsn: str) -> None:
    migrations.apply(store, SETTINGS)
    merging = priorities("MergeMutate")
    assert bool(merging) == dsn.startswith("chdb:")
    assert set(merging) <= {10}

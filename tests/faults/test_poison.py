"""Poison records: kept with their reason, while the rest is archived."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import processor.service
from stanzalake.config.settings import Settings
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP, REJECTED, Entry, Record
from stanzalake.log.sqlite import LocalLog
from stanzalake.model.position import MAX_POSITION
from stanzalake.store.client import Store
from tests.support.events import JULIET, encoded, stanza
from tests.support.settings import load
from tests.support.stores import migrated_store

SOON = 30.0
LARGE = 10 * 1024 * 1024
REFUSED = "refused-by-the-constraint"

DSN = "chdb://:memory:"
POISON = {
    "nothing": (b"", "truncated"),
    "no JSON": (b"\x00\xff" * 50, "malformed"),
    "no UTF-8": (encoded(2).replace(b"hello", b"\xc3\x28"), "utf-8"),
    "a cut event": (encoded(2)[:-9], "truncated"),
    "a version to come": (encoded(2).replace(b'"v":1', b'"v":2'), "$.v"),
    "no version": (encoded(2).replace(b'"v":1,', b""), "v"),
    "an unknown type": (encoded(2).replace(b'"message"', b'"massage"'), "$.type"),
    "deep JSON": (b'{"type":' * 100_000, ""),
    "no XML": (encoded(2, stanza="<message xmlns='jabber:client'><body>"), "not well-formed"),
    "no message": (encoded(2, stanza="<presence xmlns='jabber:client'/>"), "not a message"),
    "entities": (encoded(2, stanza=f"<!DOCTYPE m [<!ENTITY a 'b'>]>{stanza()}"), "forbids"),
    "10 MB": (encoded(2, stanza=stanza("x" * LARGE)), "over the limit"),
    "a row that the store refuses": (encoded(2, peer_resource=REFUSED), "VIOLATED_CONSTRAINT"),
    "a position after the last": (encoded(MAX_POSITION + 1), "$.position"),
}


@pytest.fixture
def store() -> Iterator[Store]:
    """Give a table that does not take every row."""
    with migrated_store(DSN) as store:
        check = f"CHECK peer_resource != '{REFUSED}'"
        store.command(f"ALTER TABLE {store.table} ADD CONSTRAINT c {check}")
        yield store


@pytest.fixture
def configured(store: Store, tmp_path: Path) -> Settings:
    return load(
        STANZALAKE_DATA_DIR=str(tmp_path),
        STANZALAKE_CLICKHOUSE_DSN=DSN,
        PROSODY_ARCHIVE_EXPIRES_AFTER="never",
        PROSODY_ARCHIVE_STORE=store.table,
    )


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[LocalLog]:
    log = LocalLog(tmp_path / "log.sqlite")
    yield log
    await log.close()


async def archived(configured: Settings, log: LocalLog, store: Store) -> list[int]:
    """Process all there is, and give the positions of the archive."""
    stop = asyncio.Event()
    working = asyncio.ensure_future(processor.service.run(configured, log, store, stop))
    assert await log.wait_committed(EVENTS, PROCESSOR_GROUP, JULIET, SOON)
    stop.set()
    await working
    return [p for (p,) in store.select(f"SELECT position FROM {store.table} ORDER BY 1")]


async def dead_letters(log: LocalLog) -> list[Record]:
    return [record async for record in log.scan(REJECTED)]


async def test_poison_records_become_dead_letters_and_the_rest_is_archived(
    configured: Settings, log: LocalLog, store: Store
) -> None:
    good = range(10, 10 + len(POISON))
    for position, (value, _) in zip(good, POISON.values(), strict=True):
        await log.append(EVENTS, [Entry(JULIET, value), Entry(JULIET, encoded(position))])
    assert await archived(configured, log, store) == list(good)
    records = await dead_letters(log)
    assert sorted(r.value for r in records) == sorted(value for value, _ in POISON.values())
    letters = {record.value: record for record in records}
    for number, (kind, (value, reason)) in enumerate(POISON.items()):
        headers = dict(letters[value].headers)
        assert letters[value].key == JULIET, kind
        assert headers["source"] == f"{EVENTS}/0/{1 + 2 * number}", kind
        assert reason in headers["reason"], kind
        assert "hello" not in headers["reason"], kind


async def test_positions_of_any_year_are_archived(
    configured: Settings, log: LocalLog, store: Store
) -> None:
    positions = [*(n * 2**52 for n in range(300)), MAX_POSITION]
    await log.append(EVENTS, [Entry(JULIET, encoded(position)) for position in positions])
    assert await archived(configured, log, store) == positions
    assert await dead_letters(log) == []

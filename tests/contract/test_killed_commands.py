"""A command that is killed behind any of its writes, and run again, ends as if it had not been."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from processor.batch import Batch, decode_records
from processor.sink import Sink
from stanzalake.config.settings import Settings
from stanzalake.importer.importer import Importer
from stanzalake.importer.source import ArchivedMessage, ArchivedPreferences
from stanzalake.log import opening
from stanzalake.log.base import EVENTS
from stanzalake.log.sqlite import LocalLog
from stanzalake.model.event import VERSION, Erasure
from stanzalake.model.history import History
from stanzalake.model.position import MAX_POSITION
from stanzalake.model.retention import Retention
from stanzalake.operations import change
from stanzalake.operations.erasure import Eraser
from stanzalake.store.client import Row, Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.erasures import Erasures
from stanzalake.store.histories import Histories
from stanzalake.store.messages import MessageRange, Messages
from stanzalake.store.retention import RetentionRecord
from tests.support.archives import START, rows
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.kills import Killed, killed_behind
from tests.support.settings import load
from tests.support.sources import Given
from tests.support.stores import migrated_store
from tests.support.wait import until

NURSE = "nurse@capulet.lit"
NOW = START / 1000 + 100
MAX_WRITES = 40


@pytest.fixture
def store() -> Iterator[Store]:
    with migrated_store("chdb://:memory:") as store:
        yield store


def kept(store: Store, owner: str = JULIET) -> list[Row]:
    """Give what its owner sees of an archive."""
    return list(Messages(store).read(MessageRange(owner)))


def on_disk(store: Store) -> list[tuple[str, int]]:
    found = store.select(f"SELECT DISTINCT owner, position FROM {store.table} ORDER BY ALL")
    return [(str(owner), int(position)) for owner, position in found]


def run_import(store: Store) -> None:
    wanted = ArchivedPreferences(JULIET, "never", (ROMEO,), (), "line 0")
    messages = [
        ArchivedMessage(JULIET, f"old-{n}", START, ROMEO, "xml", stanza(str(n)), f"line {n}")
        for n in range(7)
    ]
    values = load(STANZALAKE_BATCH_ROWS="3", PROSODY_ARCHIVE_EXPIRES_AFTER="never")
    importer = Importer(store, values, lambda _: None, clock=lambda: NOW)
    importer.run(Given([wanted, *messages]), lambda: False)


def test_an_import(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome(store: Store) -> tuple[list[Row], History]:
        return kept(store), Histories(store).read([JULIET])[JULIET]

    with migrated_store("chdb://:memory:") as other:
        run_import(other)
        expected = outcome(other)
    assert len(expected[0]) == 7
    for writes in range(1, MAX_WRITES):
        with killed_behind(writes, monkeypatch) as killed:
            run_import(store)
        if not killed:
            break
        run_import(store)
        assert outcome(store) == expected
        store.command(f"TRUNCATE TABLE {store.table}")
        store.command(f"TRUNCATE TABLE {store.table}_preferences")
    assert writes > 5


async def finish(deletion: Deletion) -> None:
    await until(lambda: not deletion.step(NOW))


async def test_an_expiry_and_the_removal_of_what_was_erased(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    retention = Retention(99)
    gone = Erasure(v=VERSION, owner=NURSE, position=MAX_POSITION, end=MAX_POSITION, account=True)
    for writes in range(1, MAX_WRITES):
        store.insert([*rows(3), *(row._replace(owner=NURSE) for row in rows(3))])
        Erasures(store).write([gone])
        store.command(f"TRUNCATE TABLE {store.table}_retention")
        RetentionRecord(store).write(Retention())
        with killed_behind(writes, monkeypatch) as killed:
            deletion = Deletion(store, retention=retention)
            deletion.confirm()
            await finish(deletion)
        again = Deletion(store, retention=retention)
        again.confirm()
        await finish(again)
        assert on_disk(store) == [(JULIET, row.position) for row in rows(3)[1:]]
        if not killed:
            break
    assert writes > 3


@asynccontextmanager
async def processor(values: Settings, store: Store) -> AsyncIterator[None]:
    """Apply the erasures of the log, as a processor does."""

    async def run() -> None:
        consumer = await log.consumer(EVENTS, "tests")
        while True:
            decoded = decode_records(await consumer.read(10, 0.05))
            batch = Batch([], decoded.states, [], {})
            await asyncio.to_thread(Sink(store).write_states, batch)

    async with opening.open_log(values) as log:
        task = asyncio.create_task(run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("step", ["_append", "_wait"])
async def test_an_erasure(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    values = load(STANZALAKE_DATA_DIR=str(tmp_path), PROSODY_ARCHIVE_EXPIRES_AFTER="never")
    await LocalLog(opening.local_file(values)).close()
    ticks = itertools.count(int(NOW))

    def erase() -> bool:
        eraser = Eraser(values, store, clock=lambda: next(ticks))
        return eraser.erase(eraser.plan(JULIET, "", 0, None, "tests"), timeout=20.0)

    def die(*_: object) -> None:
        raise Killed

    store.insert(rows(3))
    with monkeypatch.context() as patched:
        patched.setattr(change, step, die)
        with pytest.raises(Killed):
            await asyncio.to_thread(erase)
    assert len(kept(store)) == 3
    async with processor(values, store):
        assert await asyncio.to_thread(erase)
    assert kept(store) == []
    await finish(Deletion(store))
    assert on_disk(store) == []

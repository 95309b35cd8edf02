"""Fixtures: the embedded engine, and a ClickHouse over HTTP."""

import asyncio
from collections.abc import Iterator

import pytest

from devstack.clickhouse import ClickHouse
from stanzalake.store import migrations
from stanzalake.store.client import Store
from stanzalake.store.erasures import Erasures
from tests.support.settings import load
from tests.support.stores import CountingStore

TABLE = "repository"


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """Give a ClickHouse shared by the session."""
    with asyncio.Runner() as runner:
        server = ClickHouse(directory=tmp_path_factory.mktemp("clickhouse"))
        runner.run(server.start())
        yield server
        runner.run(server.stop())


@pytest.fixture(scope="session", params=["embedded", pytest.param("http", marks=pytest.mark.slow)])
def dsn(request: pytest.FixtureRequest) -> str:
    """Give the DSN of each kind of store.

    Over HTTP the statements are the same: only modules about the client itself run both ways in
    `make test` (`ON_BOTH_STORES`), the others in `make test-slow`.
    """
    if request.param == "embedded":
        return "chdb://:memory:"
    server: ClickHouse = request.getfixturevalue("clickhouse")
    return server.dsn()


@pytest.fixture(scope="module")
def messages(dsn: str) -> Iterator[Store]:
    """Give a migrated table whose parts are never merged, so that duplicates stay.

    It is closed behind the module: a process has one embedded engine, on one directory, and
    pytest keeps a fixture of a wider scope when a module gives `dsn` a value of its own.
    """
    store = Store(dsn, TABLE)
    migrations.apply(
        store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never", PROSODY_ARCHIVE_STORE=TABLE)
    )
    store.command(f"TRUNCATE TABLE {TABLE}")  # the engine in memory outlives its clients
    store.command(f"SYSTEM STOP MERGES {TABLE}")
    yield store
    store.close()


@pytest.fixture(scope="module")
def store(messages: Store, dsn: str) -> Iterator[CountingStore]:
    """Give a store on the same table that counts statements, and knows who had nothing erased."""
    Erasures(messages).complete()
    store = CountingStore(dsn, messages.table)
    yield store
    store.close()

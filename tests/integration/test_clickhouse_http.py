"""The store over HTTP: users and grants, network failures, compression and TLS."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devstack.clickhouse import ClickHouse
from stanzalake.errors import SchemaBehind, StanzalakeError, StoreDenied, StoreUnavailable
from stanzalake.model.event import VERSION, Activation, Erasure, Tombstone
from stanzalake.model.page import Selection
from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import FOREVER, Retention
from stanzalake.store import migrations
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.erasures import Erasures
from stanzalake.store.histories import Histories
from stanzalake.store.tombstones import TombstoneRow, Tombstones
from stanzalake.xmpp.retraction import retracted
from tests.support import clickhouse
from tests.support.archives import SEALER, rows
from tests.support.clickhouse import dsn_of, load, migrated
from tests.support.events import JULIET, ROMEO
from tests.support.processes import Run
from tests.support.wait import until


@pytest.fixture
async def server(run: Run, tmp_path: Path) -> ClickHouse:
    """Give a ClickHouse where everybody may do everything."""
    return await run(ClickHouse(directory=tmp_path / "clickhouse"))


@pytest.fixture
async def guarded(run: Run, tmp_path: Path) -> ClickHouse:
    """Give a ClickHouse with the users that the project ships."""
    return await run(clickhouse.guarded(tmp_path / "clickhouse"))


def count(store: Store) -> int:
    [(number,)] = store.select(f"SELECT uniqExact(owner, position) FROM {store.table}")
    return int(number)


async def test_data_survive_a_sigterm(server: ClickHouse) -> None:
    store = await asyncio.to_thread(migrated, server.dsn())
    await asyncio.to_thread(store.insert, rows(3))
    assert await server.stop() == 0
    await server.start()
    assert await asyncio.to_thread(count, store) == 3
    store.close()


@pytest.mark.parametrize("user", ["stanzalake_query", "nobody", "default"])
async def test_a_wrong_password_names_the_user_and_the_setting(
    guarded: ClickHouse, user: str
) -> None:
    with pytest.raises(StoreDenied) as caught:
        await asyncio.to_thread(Store.of, load(guarded.dsn(user, "not the word")))
    text = str(caught.value)
    assert f"'{user}'" in text
    assert "516 AUTHENTICATION_FAILED" in text
    assert "STANZALAKE_CLICKHOUSE_DSN" in text
    assert "not the word" not in text
    assert not caught.value.retry


async def test_a_refused_administrator_is_pointed_to_the_admin_dsn(
    guarded: ClickHouse,
) -> None:
    values = load(
        dsn_of(guarded, "query"), STANZALAKE_CLICKHOUSE_ADMIN_DSN=guarded.dsn("nobody", "x")
    )
    with pytest.raises(StoreDenied, match=r"'nobody'.*STANZALAKE_CLICKHOUSE_ADMIN_DSN"):
        await asyncio.to_thread(Store.for_admin, values)


async def test_each_service_user_has_the_grants_it_needs(guarded: ClickHouse) -> None:
    migrated(dsn_of(guarded, "admin")).close()
    processor = Store.of(load(dsn_of(guarded, "processor")))
    migrations.check(processor)
    processor.insert(rows(3))
    said = Activation(v=VERSION, owner=JULIET, position=from_milliseconds(1))
    Histories(processor).write([said])
    assert Histories(processor).read([JULIET]) == {JULIET: (said,)}
    gone = rows(2)[-1].position
    erased = Erasure(v=VERSION, owner=JULIET, position=gone, end=gone, account=True)
    Erasures(processor).write([erased])
    Erasures(processor).complete()
    assert Erasures(processor).since(0) == [erased]
    retraction = Tombstone(
        v=VERSION,
        owner=JULIET,
        position=from_milliseconds(int(1000 * time.time())),
        peer=ROMEO,
        direction="in",
        message_id="m",
        by=ROMEO,
    )
    Tombstones(processor).write([TombstoneRow.of(retraction, retracted(retraction))])
    deletion = Deletion(processor, retention=Retention(1))
    deletion.confirm()
    assert deletion.step(0)
    await until(lambda: not deletion.step(0))
    processor.close()

    query = Store.of(load(dsn_of(guarded, "query")))
    migrations.check(query)
    reader = ArchiveReader(query, SEALER, FOREVER)
    archive = reader.archive(JULIET)
    items = (await archive.read(Selection(), 9)).items
    assert [retracted(retraction) in item.stanza for item in items] == [True, True]
    assert query.select("SELECT countSubstrings(stanza, '<body>') FROM messages") == [(0,), (0,)]
    assert await archive.count(Selection(), 0) == (2, 0)
    assert await archive.find(["made up"]) == {}
    await reader.close()
    query.close()


@pytest.mark.slow
async def test_the_administrator_may_apply_changed_settings(guarded: ClickHouse) -> None:
    dsn = dsn_of(guarded, "admin")
    migrated(dsn).close()
    store = migrated(dsn, PROSODY_ARCHIVE_EXPIRES_AFTER="90d", PROSODY_ARCHIVE_COMPRESSION="false")
    [[text], [view]] = store.select(
        "SELECT create_table_query FROM system.tables"
        " WHERE name IN ('messages', 'messages_bodies') ORDER BY name"
    )
    assert "`stanza` String CODEC(NONE)" in text
    assert "- 7776000, 0)" in view
    store.close()


async def test_no_service_user_has_more_grants_than_it_needs(guarded: ClickHouse) -> None:
    migrated(dsn_of(guarded, "admin")).close()
    for user, statement in (
        ("query", "INSERT INTO messages (owner) VALUES ('x')"),
        ("query", "ALTER TABLE messages DELETE WHERE 1"),
        ("query", "SELECT * FROM file('/etc/hostname', 'LineAsString')"),
        ("processor", "SELECT stanza FROM messages"),
        ("processor", "SELECT stanza FROM messages WHERE owner = ''"),
        ("processor", "ALTER TABLE messages UPDATE legacy_id = '' WHERE 1"),
        ("processor", "SELECT body FROM messages_bodies"),
        ("processor", "DROP TABLE messages"),
        ("admin", "CREATE USER somebody"),
        ("admin", "DROP DATABASE stanzalake"),
    ):
        with closing(Store.of(load(dsn_of(guarded, user)))) as store:
            with pytest.raises(StanzalakeError, match=r"497 ACCESS_DENIED|164 READONLY") as caught:
                store.command(statement)
            assert not caught.value.retry, statement


async def test_a_service_with_a_schema_behind_names_the_command_to_run(guarded: ClickHouse) -> None:
    store = Store.of(load(dsn_of(guarded, "query")))
    with pytest.raises(SchemaBehind, match="run stanzalake migrate"):
        migrations.check(store)
    store.close()


async def test_a_server_that_is_down_is_unavailable(server: ClickHouse) -> None:
    store = await asyncio.to_thread(migrated, server.dsn())
    await server.stop()
    for call in (lambda: store.insert(rows(1)), lambda: count(store)):
        with pytest.raises(StoreUnavailable) as caught:
            await asyncio.to_thread(call)
        assert caught.value.retry
    with pytest.raises(StoreUnavailable, match="Connection refused"):
        await asyncio.to_thread(Store.of, load(server.dsn()))
    await server.start()
    await asyncio.to_thread(store.insert, rows(1))
    assert await asyncio.to_thread(count, store) == 1
    store.close()


async def test_an_insert_repeated_after_a_kill_stores_each_row_once(server: ClickHouse) -> None:
    store = await asyncio.to_thread(migrated, server.dsn())
    given = rows(200_000)
    inserts = _inserts(server)
    insert = asyncio.create_task(asyncio.to_thread(store.insert, given))
    await until(lambda: _inserts(server) > inserts)
    await server.kill()
    with pytest.raises(StoreUnavailable):
        await insert
    await server.start()
    await asyncio.to_thread(store.insert, given)
    assert await asyncio.to_thread(count, store) == len(given)
    store.close()


def _inserts(server: ClickHouse) -> int:
    return sum(line.get("encoding") == "zstd" and "path" in line for line in said(server))


def said(server: ClickHouse) -> list[dict[str, Any]]:
    """Give what the server says of its requests and its answers."""
    return [json.loads(line) for line in server.log.splitlines() if line.endswith("}")]


@pytest.mark.parametrize(("compression", "encoding"), [("true", "zstd"), ("false", "")])
async def test_traffic_is_compressed_as_the_setting_says(
    server: ClickHouse, compression: str, encoding: str
) -> None:
    def use() -> None:
        store = migrated(server.dsn(), PROSODY_ARCHIVE_COMPRESSION=compression)
        store.insert(rows(100))
        assert len(store.select("SELECT stanza FROM messages")) == 100
        store.close()

    await asyncio.to_thread(use)
    request, answer, _, rows_answer = said(server)[-4:]
    assert (request["encoding"], answer["status"]) == (encoding, 200)
    assert rows_answer["encoding"] == encoding


@pytest.mark.parametrize("gather", ["true", "false"])
async def test_only_messages_are_gathered_and_only_as_the_setting_says(
    server: ClickHouse, gather: str
) -> None:
    def use() -> None:
        store = migrated(server.dsn(), STANZALAKE_CLICKHOUSE_ASYNC_INSERT=gather)
        Histories(store).write([Activation(v=VERSION, owner=JULIET, position=1)])
        store.insert(rows(1))
        assert count(store) == 1
        store.close()

    await asyncio.to_thread(use)
    asked = [each for each in said(server) if "async_insert" in each]
    *others, of_messages = [each for each in asked if each["encoding"] == "zstd"]
    # A server acknowledges an insert before it can be read unless it is told to wait.
    assert {each["wait_for_async_insert"] for each in (*others, of_messages)} == {"1"}
    assert {each["async_insert"] for each in others} == {"0"}
    assert of_messages["async_insert"] == str(int(gather == "true"))


async def test_a_silent_server_is_unavailable(server: ClickHouse) -> None:
    def ask() -> float:
        store = Store.of(load(server.dsn(), STANZALAKE_CLICKHOUSE_TIMEOUT="1"))
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="ReadTimeoutError"):
            store.select("SELECT sleep(3)")
        store.close()
        return time.monotonic() - began

    assert await asyncio.to_thread(ask) < 2.5


async def test_a_store_serves_many_threads_at_once(server: ClickHouse) -> None:
    def ask() -> float:
        store = Store.of(load(server.dsn()))
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda n: store.select(f"SELECT {n} + sleep(0.5)"), range(8))
            assert [number for [(number,)] in answers] == list(range(8))
        store.close()
        return time.monotonic() - began

    assert await asyncio.to_thread(ask) < 8 * 0.5


async def test_tls_with_a_private_authority(run: Run, tmp_path: Path) -> None:
    authority, certificate = await certificates(tmp_path)
    server = await run(ClickHouse(directory=tmp_path / "clickhouse", certificate=certificate))
    store = Store.of(load(server.dsn(), STANZALAKE_CLICKHOUSE_CA_FILE=str(authority)))
    assert store.select("SELECT 1") == [(1,)]
    store.close()
    with pytest.raises(StoreUnavailable, match="SSLError"):
        Store.of(load(server.dsn()))


async def certificates(directory: Path) -> tuple[Path, Path]:
    """Make an authority, and a certificate of it for 127.0.0.1 with its key."""
    await openssl(
        directory,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=authority"
        " -keyout authority.key -out authority.pem -addext keyUsage=critical,keyCertSign",
    )
    await openssl(
        directory,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=server"
        " -keyout server.key -out server.pem -addext subjectAltName=IP:127.0.0.1"
        " -addext basicConstraints=critical,CA:FALSE -CA authority.pem -CAkey authority.key",
    )
    both = directory / "both.pem"
    both.write_bytes(b"".join((directory / f"server.{end}").read_bytes() for end in ("key", "pem")))
    return directory / "authority.pem", both


async def openssl(directory: Path, arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "openssl", *arguments.split(), cwd=directory, stderr=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0

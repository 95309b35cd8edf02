"""The embedded store shared by a running `up`: access, shutdown and bad requests."""

import asyncio
import fcntl
import gzip
import os
import stat
from contextlib import closing
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import aiohttp
import pytest
import zstandard

from devstack.process import running
from stanzalake.config import data_dir, settings
from stanzalake.config.settings import Settings
from stanzalake.errors import DataDirInUse, StoreRefused
from stanzalake.store import migrations
from stanzalake.store.chdb import http
from stanzalake.store.client import Store
from tests.support.archives import rows
from tests.support.command import Command, Up
from tests.support.processes import Run
from tests.support.wait import until


@pytest.fixture
def stanzalake(tmp_path: Path) -> Command:
    command = Command(tmp_path)
    command.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "never"
    return command


@pytest.fixture
def values(stanzalake: Command) -> Settings:
    return settings.load(stanzalake.settings)


@pytest.fixture
def shared(values: Settings) -> Path:
    """Give the file that says where the store is shared."""
    return values.data_dir / "store.dsn"


@pytest.fixture
async def up(run: Run, stanzalake: Command) -> Up:
    """Give a `stanzalake up` that shares its store."""
    return await run(stanzalake.up())


def address(shared: Path) -> SplitResult:
    """Give where the store is shared."""
    return urlsplit(shared.read_text())


def mode(path: Path) -> int | None:
    """Give who may use a file, or None if it is not there."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


def count(values: Settings) -> int:
    with closing(Store.of(values)) as store:
        [(number,)] = store.select("SELECT count() FROM messages")
        return int(number)


@pytest.mark.usefixtures("up")
async def test_another_process_reads_writes_and_alters_the_shared_store(values: Settings) -> None:
    with closing(Store.for_admin(values)) as store:
        assert migrations.apply(store, values) == []
        store.insert(rows(3))
        store.command("OPTIMIZE TABLE messages")
        with pytest.raises(StoreRefused, match="60 UNKNOWN_TABLE"):
            store.select("SELECT 1 FROM nowhere")
    assert count(values) == 3


async def test_the_dsn_file_is_private_and_removed_at_exit(
    up: Up, shared: Path, values: Settings
) -> None:
    assert mode(shared) == 0o600
    parts = address(shared)
    assert parts.hostname == "127.0.0.1"
    assert parts.password is not None
    assert len(parts.password) > 40
    assert await up.stop() == 0
    assert parts.password not in up.log.read_text()
    assert mode(shared) is None
    assert count(values) == 0


async def test_the_dsn_file_of_a_killed_process_is_ignored(
    up: Up, shared: Path, values: Settings
) -> None:
    with closing(Store.of(values)) as store:
        store.insert(rows(2))
    await up.kill()
    assert mode(shared) is not None
    assert count(values) == 2
    assert mode(shared) is None


async def test_a_running_statement_does_not_delay_the_shutdown(up: Up, values: Settings) -> None:
    store = Store.of(values)
    endless = "SELECT max(a.number * b.number) FROM numbers(10000000) a, numbers(10000000) b"
    asking = asyncio.create_task(asyncio.to_thread(store.select, endless))
    with closing(Store.of(values)) as other:
        running = "SELECT count() FROM system.processes WHERE query LIKE '%max(a.number%'"
        await until(lambda: other.select(running)[0][0] > 1)
    assert await up.stop() == 0
    with pytest.raises(Exception, match="394 QUERY_WAS_CANCELLED"):
        await asking
    store.close()


async def test_a_second_command_without_up_is_refused(
    values: Settings, stanzalake: Command
) -> None:
    with closing(Store.for_admin(values)) as store:
        migrations.apply(store, values)
        status, _, err = await stanzalake.run("stats")
        assert status == 1
        [line] = err.splitlines()
        assert str(values.data_dir) in line
        assert "in use by another process" in line
    assert (await stanzalake.run("stats"))[0] == 0


def test_an_unreachable_shared_store_is_reported(values: Settings, shared: Path) -> None:
    values.data_dir.mkdir()
    handle = os.open(values.data_dir / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(DataDirInUse, match="does not share its store"):
        Store.of(values)
    shared.write_text("clickhouse://stanzalake:secret@127.0.0.1:1/default")
    with pytest.raises(DataDirInUse, match="cannot be reached") as caught:
        Store.of(values)
    assert "secret" not in str(caught.value)
    os.close(handle)


def test_the_lock_on_the_data_directory_is_reentrant(tmp_path: Path) -> None:
    with data_dir.hold_data_dir(tmp_path):
        with data_dir.hold_data_dir(tmp_path):
            pass
        with data_dir.publish_store_dsn(tmp_path, "somewhere"):
            assert data_dir.store_dsn(tmp_path) == "somewhere"
        with pytest.raises(DataDirInUse):
            data_dir.store_dsn(tmp_path)
    with data_dir.hold_data_dir(tmp_path):
        pass


@pytest.mark.usefixtures("up")
async def test_the_shared_store_refuses_other_users(shared: Path) -> None:
    for user in (("", ""), ("default", ""), ("stanzalake", ""), ("stanzalake", "x"), ("ö", "ö")):
        auth = aiohttp.BasicAuth(*user, "utf-8")
        status, text = await post(shared, b"SELECT 1", auth=auth)
        assert (status, "AUTHENTICATION_FAILED" in text) == (403, True), user


async def test_files_in_an_existing_directory_are_private(
    stanzalake: Command, values: Settings
) -> None:
    values.data_dir.mkdir(mode=0o755)
    before = os.umask(0o022)
    try:
        async with running(stanzalake.up()):
            pass
    finally:
        os.umask(before)
    made = list(values.data_dir.rglob("*"))
    assert values.data_dir / "log.sqlite" in made
    assert not [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077]


@pytest.mark.usefixtures("up")
async def test_the_shared_store_bounds_parameters_like_a_server(values: Settings) -> None:
    with closing(Store.of(values)) as store:
        text = "SELECT length({text:String})"
        assert store.select(text, {"text": "x" * 100_000}) == [(100_000,)]
        with pytest.raises(StoreRefused, match="1000"):
            store.select(text, {"text": "x" * 200_000})


@pytest.mark.usefixtures("up")
async def test_bad_requests_are_answered_with_an_error(shared: Path, values: Settings) -> None:
    bomb = zstandard.compress(bytes(http.MAX_BODY + 1))
    for body, encoding, expected in [
        (b"no zstd", "zstd", "CANNOT_DECOMPRESS"),
        (bomb, "zstd", "TOO_LARGE_STRING_SIZE"),
        (gzip.compress(b"SELECT 1"), "gzip", "NOT_IMPLEMENTED"),
        (b"SELEKT 1", "", "SYNTAX_ERROR"),
    ]:
        status, text = await post(shared, body, {"Content-Encoding": encoding})
        assert (status, expected in text) == (500, True), text
    headers = {"Authorization": "Basic !!"}
    assert (await post(shared, b"SELECT 1", headers, login=False))[0] == 403
    wide = b"SELECT repeat(toString(number), 200) FROM numbers(1000000)"
    assert "TOO_MANY_ROWS_OR_BYTES" in (await post(shared, wide))[1]
    assert count(values) == 0


async def post(
    shared: Path,
    body: bytes,
    headers: dict[str, str] | None = None,
    *,
    auth: aiohttp.BasicAuth | None = None,
    login: bool = True,
) -> tuple[int, str]:
    """Send a request to the shared store; as the user that may, if not told otherwise."""
    parts = address(shared)
    own = aiohttp.BasicAuth(parts.username or "", parts.password or "") if login else None
    async with (
        aiohttp.ClientSession(auth=auth or own) as http,
        http.post(
            f"http://{parts.hostname}:{parts.port}/",
            data=body,
            headers={k: v for k, v in (headers or {}).items() if v},
        ) as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.usefixtures("up")
async def test_a_command_beside_up_loads_no_engine_and_no_service(stanzalake: Command) -> None:
    stanzalake.settings["PYTHONPROFILEIMPORTTIME"] = "1"
    status, _, err = await stanzalake.run("stats")
    assert status == 0
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in err.splitlines()}
    assert "clickhouse_connect" in modules
    assert not modules & {"chdb", "faust", "slixmpp", "aiokafka", "ingest", "processor", "query"}

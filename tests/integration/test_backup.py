"""Backup and restore, by the statements of docs/backup.md."""

import asyncio
import json
import os
import resource
import shlex
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from devstack.clickhouse import ClickHouse
from devstack.kafka import Kafka
from stanzalake.cli.main import cli
from stanzalake.config import settings
from stanzalake.errors import StoreRefused
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP, Entry
from stanzalake.log.sqlite import LocalLog
from stanzalake.log.sqlite_file import PARTITION
from stanzalake.model.event import VERSION, Erasure, OwnRetention, encode
from stanzalake.model.position import from_milliseconds
from stanzalake.operations import backup
from stanzalake.store import migrations
from stanzalake.store.backups import Backups
from stanzalake.store.chdb import links
from stanzalake.store.client import Store
from stanzalake.store.erasures import ERASURES, VISIBLE_TO_ALL, Erasures
from stanzalake.store.own_retention import OwnRetentions
from stanzalake.store.statement import MESSAGES, select
from tests.support.archives import rows
from tests.support.clickhouse import PASSWORDS, USERS, dsn_of
from tests.support.command import Command
from tests.support.documents import ROOT, section
from tests.support.events import JULIET, encoded
from tests.support.kafka_log import PARTITIONS, open_kafka, unique_prefix
from tests.support.kills import killed_behind
from tests.support.processes import Run

GUIDE = "docs/backup.md"
ROMEO = "romeo@capulet.lit"
SOON = 30.0
SECOND = from_milliseconds(1000)


def lines(title: str, kind: str = "sh") -> list[list[str]]:
    """Return the lines of each code block of a section."""
    return [block.lines for block in section(GUIDE, title, kind)]


[MAKE], [MAKE_SQL] = lines("Making one"), lines("Making one", "sql")
COPY = lines("Moving the data directory")[0][-1]
(RESTORE, _, FOLLOW), [RESTORE_SQL] = lines("Restoring one"), lines("Restoring one", "sql")


class Service:
    """`stanzalake up`, as systemd would hold it, and a shell beside it.

    Args:
        stanzalake: The command line with its settings.
        directory: What the guide calls /var/lib/stanzalake.
    """

    def __init__(self, stanzalake: Command, directory: Path) -> None:
        self._stanzalake = stanzalake
        self._directory = directory
        self.up = stanzalake.up()

    async def do(self, line: str) -> tuple[int, str, str]:
        """Run a line of the guide."""
        words = shlex.split(line.replace("/var/lib/stanzalake", str(self._directory)))
        word, *arguments = words
        if word == "stanzalake":
            return await self._stanzalake.run(*arguments)
        if word == "systemctl":
            await {"start": self.up.start, "stop": self.up.stop}[arguments[0]]()
            return 0, "", ""
        process = await asyncio.create_subprocess_exec(*words)
        return await process.wait(), "", ""


async def archived(values: dict[str, str]) -> list[tuple[str, int]]:
    """Return owner and position of all archived messages."""

    def read() -> list[tuple[str, int]]:
        store = Store.of(settings.load(values))
        visible = select(
            "DISTINCT owner, position", [VISIBLE_TO_ALL], source=f"{MESSAGES} {ERASURES}"
        )
        found = store.select(f"{visible} ORDER BY ALL")
        store.close()
        return [(str(owner), int(position)) for owner, position in found]

    return await asyncio.to_thread(read)


async def will_be(values: dict[str, str], expected: list[tuple[str, int]]) -> None:
    """Wait until the archive holds exactly these messages."""
    async with asyncio.timeout(SOON):
        while await archived(values) != expected:  # noqa: ASYNC110  # the store sets no asyncio.Event
            await asyncio.sleep(0.1)


def message(owner: str, position: int) -> Entry:
    return Entry(owner, encoded(position, owner=owner))


@pytest.mark.timeout(240)
@pytest.mark.slow
async def test_backup_and_restore_of_a_running_embedded_archive(run: Run, tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    stanzalake.settings |= {
        "PROSODY_ARCHIVE_POLICY": "true",
        "PROSODY_ARCHIVE_EXPIRES_AFTER": "never",
    }
    data = tmp_path / "data"
    service = Service(stanzalake, data)
    await run(service.up)
    log = LocalLog(data / "log.sqlite")
    expected: list[tuple[str, int]] = []
    for position, line in enumerate(MAKE, 1):
        await log.append(EVENTS, [message(JULIET, position), message(ROMEO, position)])
        expected = sorted([*expected, (JULIET, position), (ROMEO, position)])
        await will_be(stanzalake.settings, expected)
        assert (await service.do(line))[:2] == (0, f"made backup {line.split()[2]}\n")
    assert (await service.do(MAKE[0]))[0] == 1
    assert (await stanzalake.run("restore", "monday"))[0] == 1

    erasure = Erasure(v=VERSION, owner=ROMEO, position=9 << 16, end=9 << 16, by="test")
    await log.append(EVENTS, [message(JULIET, 7), Entry(ROMEO, encode(erasure))])
    kept = [(JULIET, 1), (JULIET, 2), (JULIET, 7)]
    await will_be(stanzalake.settings, kept)
    await log.close()

    said = [await service.do(line) for line in RESTORE]
    assert [status for status, _, _ in said] == [0, 0, 0, 1, 0]
    assert said[2][1] == "restored backup tuesday; 0 erasures are in force\n"
    assert "✓ store, schema: up to date" in said[3][1]
    await will_be(stanzalake.settings, kept)
    await service.up.stop()

    # Beside what is there: nothing is there twice, and what is erased stays so.
    status, out, _ = await stanzalake.run("restore", "tuesday")
    assert (status, out) == (0, "restored backup tuesday; 1 erasures are in force\n")
    await service.up.start()
    await will_be(stanzalake.settings, kept)
    await service.up.stop()


def links_in(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(directory) / name).is_symlink()]


def copy_as_documented(old: Path, new: Path) -> None:
    line = COPY.replace("/var/lib/stanzalake", str(old)).replace("/srv/stanzalake", str(new))
    subprocess.run(shlex.split(line), check=True)  # noqa: S603  # the guide's


COPIES: dict[str, Callable[[Path, Path], object]] = {
    "as documented": copy_as_documented,
    "links followed, as by scp -r": shutil.copytree,
    "links left out, as by rsync -r": partial(shutil.copytree, ignore=links_in),
    "moved": Path.rename,
    "by a link": lambda original, place: place.symlink_to(original),
}


async def test_a_data_directory_is_the_same_archive_at_another_place(tmp_path: Path) -> None:
    stanzalake, original = Command(tmp_path), tmp_path / "original"
    values = {**stanzalake.settings, "PROSODY_ARCHIVE_EXPIRES_AFTER": "never"}
    fill({**values, "STANZALAKE_DATA_DIR": str(original)})
    for number, (kind, copy) in enumerate(COPIES.items()):
        place = tmp_path / str(number)
        copy(original, place)
        for _ in range(2):
            assert len(await archived({**values, "STANZALAKE_DATA_DIR": str(place)})) == 5, kind
        tables = place / "clickhouse" / "data" / "default"
        assert not [table for table in tables.glob("*") if not table.is_symlink()], kind
        original = place if kind == "moved" else original


@pytest.mark.parametrize("others", ["store/0bb/0bb1/messages.sql", "metadata/default"])
def test_a_data_directory_without_links_is_not_guessed_at(tmp_path: Path, others: str) -> None:
    """It has several databases, or something else is in the place of the link."""
    for file in ("store/0aa/0aa1/messages.sql", others):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("ATTACH TABLE _ ...")
    with pytest.raises(StoreRefused, match="copied without its symbolic links"):
        links.restore(tmp_path)
    assert (tmp_path / others).is_file()


def followed_copy(directory: Path) -> tuple[Path, Path]:
    """Make a copy that has followed its links; return a file of a table, and its copy."""
    uuid = "4592ef39-23ee-4f02-999c-b760b2acdfa4"
    definition, part = f"ATTACH TABLE _ UUID '{uuid}' ...", Path("all_1_1_0", "data.bin")
    table, copy = directory / "store" / "459" / uuid / part, directory / "data/default/messages"
    for file, text in {
        directory / "store/0aa/0aa1/messages.sql": definition,
        directory / "store/0aa/0aa1/numbers.sql": "ATTACH VIEW _ ...",
        directory / "metadata/default/messages.sql": definition,
        directory / "metadata/default/numbers.sql": "ATTACH VIEW _ ...",
        table: "rows",
        copy / part: "rows",
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return table, copy / part


def test_an_incomplete_copy_of_a_data_directory_loses_no_file(tmp_path: Path) -> None:
    """A disk was full: the tables are complete only where the links to them were."""
    table, copy = followed_copy(tmp_path)
    table.write_text("ro")
    with pytest.raises(StoreRefused, match="incomplete"):
        links.restore(tmp_path)
    assert copy.read_text() == "rows"


def test_links_are_restored_after_a_start_that_was_killed_meanwhile(tmp_path: Path) -> None:
    table, copy = followed_copy(tmp_path)
    copy.unlink()
    (tmp_path / "metadata/default/numbers.sql").unlink()
    links.restore(tmp_path)
    assert (tmp_path / "metadata/default/numbers.sql").is_file()
    assert (table.read_text(), copy.parents[2].exists()) == ("rows", False)


def of_server(server: ClickHouse, kafka: Kafka, prefix: str) -> dict[str, str]:
    return {
        "STANZALAKE_CLICKHOUSE_DSN": server.dsn(),
        "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS": kafka.address,
        "STANZALAKE_KAFKA_REPLICATION": "1",
        "STANZALAKE_KAFKA_PARTITIONS": str(PARTITIONS),
        "STANZALAKE_KAFKA_TOPIC_PREFIX": prefix,
    }


def configuration(tmp_path: Path) -> Path:
    """Give the file that the project ships, for this machine's paths."""
    file = tmp_path / "backups.xml"
    text = (ROOT / "deploy" / "clickhouse" / "backups.xml").read_text()
    file.write_text(text.replace("/var/lib/clickhouse", str(tmp_path)))
    return file


def fill(values: dict[str, str], stanza: str = "") -> None:
    store = Store.for_admin(settings.load(values))
    migrations.apply(store, settings.load(values))
    store.insert([row._replace(stanza=stanza or row.stanza) for row in rows(5)])
    store.close()


def run_sql(server: ClickHouse, statements: list[str]) -> None:
    store = Store(server.dsn().removesuffix("/stanzalake"), "messages")
    for statement in statements:
        store.command(statement)
    store.close()


async def test_backup_and_restore_of_a_server_by_sql_and_kafka(
    run: Run, kafka: Kafka, tmp_path: Path
) -> None:
    server = await run(
        ClickHouse(directory=tmp_path / "clickhouse", config=configuration(tmp_path))
    )
    prefix = unique_prefix()
    stanzalake = Command(tmp_path)
    stanzalake.settings |= of_server(server, kafka, prefix)
    stanzalake.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "never"
    await asyncio.to_thread(fill, stanzalake.settings)
    before = await archived(stanzalake.settings)
    log = await open_kafka(kafka, prefix)
    await log.append(EVENTS, [message(JULIET, 1), message(ROMEO, 2)])
    await asyncio.to_thread(run_sql, server, MAKE_SQL)

    consumer = await log.consumer(EVENTS, PROCESSOR_GROUP)
    ends: dict[int, int] = {}
    while sum(ends.values()) < 2:
        ends |= {one.partition: one.offset + 1 for one in await consumer.read(10, 1.0)}
    await consumer.commit(ends)
    await asyncio.to_thread(run_sql, server, RESTORE_SQL)
    [line] = FOLLOW
    status, _, err = await Service(stanzalake, tmp_path).do(line)
    assert status == 1
    assert "stop the processors first" in err
    await consumer.close()

    status, out, _ = await Service(stanzalake, tmp_path).do(line)
    assert (status, out) == (0, "the log is read again; 0 erasures are in force\n")
    assert await archived(stanzalake.settings) == before
    again = await log.consumer(EVENTS, PROCESSOR_GROUP)
    records: list[bytes] = []
    while len(records) < 2:
        records += [record.value for record in await again.read(10, 1.0)]
    await log.close()


async def beside_a_server(run: Run, directory: Path) -> Command:
    """Give a command line with an archive on a server, as its users have rights."""
    server = await run(
        ClickHouse(
            directory=directory / "clickhouse",
            config=configuration(directory),
            users=USERS,
            environment=PASSWORDS,
        )
    )
    stanzalake = Command(directory)
    stanzalake.settings |= {
        "STANZALAKE_CLICKHOUSE_DSN": dsn_of(server, "query"),
        "STANZALAKE_CLICKHOUSE_ADMIN_DSN": dsn_of(server, "admin"),
        "PROSODY_ARCHIVE_EXPIRES_AFTER": "never",
    }
    await asyncio.to_thread(fill, stanzalake.settings)
    return stanzalake


async def test_backup_and_restore_of_a_server_by_command(run: Run, tmp_path: Path) -> None:
    stanzalake = await beside_a_server(run, tmp_path)
    before = await archived(stanzalake.settings)
    status, _, err = await stanzalake.run("backup", "monday")
    assert status == 0, err
    # A newer definition of the table than that of the backup.
    stanzalake.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "50y"
    status, _, err = await stanzalake.run("restore", "monday")
    assert status == 0, err
    assert await archived(stanzalake.settings) == before
    await repartition(stanzalake)
    assert (await stanzalake.run("restore", "monday"))[0] == 0
    assert await archived(stanzalake.settings) == before
    status, _, err = await stanzalake.run("restore", "friday")
    assert (status, len(err.splitlines())) == (1, 1)
    assert "there is no such backup" in err


@pytest.mark.slow
async def test_a_restore_that_is_killed_goes_on_when_it_is_run_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stanzalake = await beside_a_server(run, tmp_path)
    values = settings.load(stanzalake.settings)
    given = rows(5)
    end = given[2].position
    erasure = Erasure(v=VERSION, owner=JULIET, position=end, end=end, by="test")
    opening.local_file(values).parent.mkdir()
    async with opening.open_log(values) as log:
        await log.append(EVENTS, [message(JULIET, 1)])

    def damage() -> None:
        with closing(Store.for_admin(values)) as store:
            for suffix in ("", "_erasures", "_retention", "_own_retention"):
                store.command(
                    f"ALTER TABLE {store.table}{suffix} DELETE WHERE true"
                    " SETTINGS mutations_sync = 2"
                )

    # A second that was in force until the end of the fourth message's.
    choices = [
        OwnRetention(v=VERSION, owner=JULIET, position=given[4].position - SECOND, seconds=1),
        OwnRetention(v=VERSION, owner=JULIET, position=given[4].position, seconds=0),
    ]
    with closing(Store.for_admin(values)) as store:
        Erasures(store).write([erasure])
        OwnRetentions(store).write(choices)
        Backups(store).make("monday")
    for writes in range(1, 40):
        await asyncio.to_thread(damage)
        async with opening.open_log(values) as log:
            await (await log.consumer(EVENTS, PROCESSOR_GROUP)).commit({PARTITION: 2})
        with killed_behind(writes, monkeypatch) as killed:
            await backup.restore(values, "monday")
        assert await backup.restore(values, "monday") == 1
        assert await archived(stanzalake.settings) == [(JULIET, r.position) for r in given[3:]]
        async with opening.open_log(values) as log:
            consumer = await log.consumer(EVENTS, PROCESSOR_GROUP)
            assert [record.offset for record in await consumer.read(9, 1.0)] == [1]
        if not killed:
            break
    assert writes > 3


def test_a_backup_that_the_server_lost_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restarted server remembers no backup; waiting for its end would never return."""
    store = Store("chdb://:memory:", "lost")
    monkeypatch.setattr(store, "command", lambda *_: None)
    with pytest.raises(StoreRefused, match="restarted"):
        Backups(store).restore("monday")
    store.close()


def test_a_cancelled_backup_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store("chdb://:memory:", "cancelled")
    answers = iter([[], [("CREATING_BACKUP", "", 0)], [("BACKUP_CANCELLED", "", 0)]])
    monkeypatch.setattr(store, "command", lambda *_: None)
    monkeypatch.setattr(store, "select", lambda *_: next(answers))
    with pytest.raises(StoreRefused, match="BACKUP_CANCELLED"):
        Backups(store, sleep=lambda _: None).restore("monday")
    store.close()


def test_the_name_of_a_base_is_no_sql(tmp_path: Path) -> None:
    allowed = {"chdb_options": {"backups.allowed_path": str(tmp_path / "backups")}}
    store = Store(f"chdb://{tmp_path / 'store'}", "based", engine=allowed)
    store.command("CREATE TABLE based (n UInt8) ENGINE = MergeTree ORDER BY n")
    backups = Backups(store)
    backups.make("it's a \\ base")
    backups.make("next", "it's a \\ base")
    backups.restore("next")
    store.close()


@pytest.mark.parametrize("name", ["../monday", "/monday", "a'b", ".hidden", ""])
def test_backup_names_must_be_file_names(name: str) -> None:
    result = CliRunner().invoke(cli, ["backup", name])
    assert result.exit_code == 2
    assert "not a plain file name" in result.output


async def test_restoring_an_unknown_backup_is_one_line_and_creates_nothing(tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    status, out, err = await stanzalake.run("restore", "nope")
    data = tmp_path / "data"
    assert (status, out) == (1, "")
    assert err == f"stanzalake: there is no backup nope in {data / 'backups'}\n"
    assert not data.exists()


async def test_an_interrupted_backup_is_neither_listed_nor_restored(tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    await asyncio.to_thread(fill, stanzalake.settings)
    assert (await stanzalake.run("backup", "monday"))[0] == 0
    # ClickHouse writes it last.
    (tmp_path / "data" / "backups" / "monday" / ".backup").unlink()
    assert (await stanzalake.run("backup", "list"))[2] == "there are no backups\n"
    (tmp_path / "data" / "clickhouse").rename(tmp_path / "clickhouse.old")
    status, _, err = await stanzalake.run("restore", "monday")
    assert (status, len(err.splitlines())) == (1, 1)
    assert "there is no backup monday" in err
    assert not (tmp_path / "data" / "clickhouse").exists()


@pytest.mark.parametrize("limit", [20_000, 40_000])
async def test_a_backup_that_the_disk_has_no_room_for_is_an_error(
    tmp_path: Path, limit: int
) -> None:
    """ClickHouse calls it done. No file may be longer: the list of files, or those of messages."""
    stanzalake = Command(tmp_path)
    await asyncio.to_thread(fill, stanzalake.settings, os.urandom(50_000).hex())
    err = await run_limited(stanzalake, limit, "backup", "monday")
    assert "the backup monday is incomplete" in err
    assert (await stanzalake.run("backup", "list"))[2] == "there are no backups\n"
    assert (await stanzalake.run("backup", "tuesday"))[0] == 0
    (tmp_path / "data" / "clickhouse").rename(tmp_path / "clickhouse.old")
    err = await run_limited(stanzalake, limit, "restore", "tuesday")
    assert "unexpected size" in err
    assert len(err.splitlines()) == 1


async def run_limited(stanzalake: Command, limit: int, *arguments: str) -> str:
    """Run a command that fails as no file may have more bytes, and return standard error."""
    process = await stanzalake.start(*arguments)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    _, err = await process.communicate()
    assert process.returncode == 1
    return err.decode()


async def test_a_server_reports_an_unknown_and_a_repeated_backup_in_one_line(
    run: Run, tmp_path: Path
) -> None:
    server = await run(
        ClickHouse(directory=tmp_path / "clickhouse", config=configuration(tmp_path))
    )
    stanzalake = Command(tmp_path)
    stanzalake.settings["STANZALAKE_CLICKHOUSE_DSN"] = server.dsn()
    assert (await stanzalake.run("migrate"))[0] == 0
    assert (await stanzalake.run("backup", "monday"))[0] == 0
    status, _, err = await stanzalake.run("backup", "monday")
    assert (status, len(err.splitlines())) == (1, 1)
    assert "there is a backup of this name already" in err
    status, _, err = await stanzalake.run("restore", "nope")
    assert (status, len(err.splitlines())) == (1, 1)
    assert "there is no such backup" in err


@pytest.mark.slow
async def test_backups_are_listed_and_verified(tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    stanzalake.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "never"
    assert await stanzalake.run("backup", "list") == (0, "", "there are no backups\n")
    await asyncio.to_thread(fill, stanzalake.settings)
    assert (await stanzalake.run("backup", "monday"))[0] == 0
    status, out, _ = await stanzalake.run("backup", "tuesday", "--base", "monday", "--json")
    assert (status, json.loads(out)) == (0, {"name": "tuesday", "base": "monday"})
    _, out, _ = await stanzalake.run("backup", "list", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert [(made["name"], made["base"]) for made in found] == [
        ("monday", ""),
        ("tuesday", "monday"),
    ]
    assert all(made["size"] > 1000 for made in found)
    assert datetime.now(UTC) - datetime.fromisoformat(found[1]["at"]) < timedelta(minutes=1)

    before = contents(tmp_path / "data")
    status, out, err = await stanzalake.run("backup", "verify", "tuesday", "--json")
    assert status == 0, err
    assert json.loads(out)["messages"] == len(await archived(stanzalake.settings))
    status, out, _ = await stanzalake.run("restore", "tuesday", "--dry-run")
    assert (status, out.startswith("would be merged: ")) == (0, True)
    assert contents(tmp_path / "data") == before

    messages = await archived(stanzalake.settings)
    await repartition(stanzalake)
    assert (await stanzalake.run("restore", "tuesday"))[0] == 0
    assert await archived(stanzalake.settings) == messages


async def repartition(stanzalake: Command) -> None:
    """Change the partitions, so that the parts of a backup do not fit the table any more."""
    stanzalake.settings["STANZALAKE_PARTITION_BY"] = "month"
    status, out, err = await stanzalake.run("repartition")
    assert status == 0, err
    assert out == "messages is partitioned by month\n"
    status, out, _ = await stanzalake.run("repartition", "--json")
    assert (status, json.loads(out)) == (0, {"partition_by": "month", "changed": False})


def contents(directory: Path) -> list[Path]:
    return sorted(p for p in directory.rglob("*") if "clickhouse" not in p.parts)


async def test_a_damaged_backup_is_not_intact(tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    stanzalake.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "never"
    await asyncio.to_thread(fill, stanzalake.settings)
    assert (await stanzalake.run("backup", "monday"))[0] == 0
    [file] = (tmp_path / "data" / "backups").rglob("messages/*/data.bin")
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    status, out, err = await stanzalake.run("backup", "verify", "monday")
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "data" / "verify").exists()


async def test_a_server_lists_and_verifies_its_backups(run: Run, tmp_path: Path) -> None:
    stanzalake = await beside_a_server(run, tmp_path)
    assert (await stanzalake.run("backup", "monday"))[0] == 0
    status, out, err = await stanzalake.run("backup", "list")
    assert (status, out.split()[0]) == (0, "monday"), err
    status, out, err = await stanzalake.run("backup", "verify", "monday")
    assert (status, out.startswith("monday is intact: ")) == (0, True), err
    with closing(Store.for_admin(settings.load(stanzalake.settings))) as store:
        assert store.select("SHOW TABLES LIKE 'verify%'") == []

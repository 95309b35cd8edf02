"""`stanzalake import`, as an operator uses it: from Prosody's databases, and from files."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from devstack.database import Database
from devstack.mariadb import MariaDb
from devstack.postgres import Postgres
from stanzalake.config import settings
from stanzalake.importer.positions import UPPER_HALF
from stanzalake.model.position import from_milliseconds
from stanzalake.store.client import Store
from tests.support.archives import START, row, rows
from tests.support.command import Command
from tests.support.events import JULIET as JULIET_CAPULET
from tests.support.mod_mam import Old, exported, imported, talk
from tests.support.processes import Run
from tests.support.server import JULIET, ROMEO, Server

_MODULES = 'storage = { archive = "sql", archive_prefs = "sql" }\ndefault_archive_policy = true\n'
_SQLITE = 'sql = { driver = "SQLite3", database = "prosody.sqlite" }\n'
PREFS = (
    "<prefs xmlns='urn:xmpp:mam:2' default='always'>"
    "<always><jid>nurse@localhost</jid></always><never><jid>tybalt@localhost</jid></never></prefs>"
)


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, Database]]:
    """Give the servers, which every test of the module may use."""
    servers: dict[str, Database] = {"postgresql": Postgres(), "mysql": MariaDb()}
    with asyncio.Runner() as runner:
        for server in servers.values():
            runner.run(server.start())
        yield servers
        for server in servers.values():
            runner.run(server.stop())


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
async def old(
    request: pytest.FixtureRequest, run: Run, databases: dict[str, Database], tmp_path: Path
) -> Old:
    database = databases.get(request.param)
    options = _MODULES + (_SQLITE if database is None else database.prosody)
    server = await run(Server(tmp_path / "prosody", options, modules=("mam",)))
    file = server.prosody.data_path / "prosody.sqlite"
    return Old(server, f"sqlite:///{file}" if database is None else database.url)


@pytest.fixture
async def stanzalake(tmp_path: Path) -> Command:
    command = Command(tmp_path)
    command.settings["STANZALAKE_HOSTS"] = "localhost"
    assert (await command.run("migrate"))[0] == 0
    return command


def portable(file: Path, number: int) -> None:
    """Write an export with one damaged message, and good ones behind it."""
    results = (
        f"<result xmlns='urn:xmpp:mam:2' id='old-{n}'><forwarded xmlns='urn:xmpp:forward:0'>"
        "<delay xmlns='urn:xmpp:delay' stamp='2026-01-31T10:00:00Z'/>"
        f"<message xmlns='jabber:client' from='{ROMEO}/one' to='{JULIET}'><body>{n}</body>"
        "<x xmlns='urn:x'/></message>"
        "</forwarded></result>\n"
        for n in range(number)
    )
    file.write_text(
        "<server-data xmlns='urn:xmpp:pie:0'><host jid='localhost'><user name='juliet'>"
        "<archive xmlns='urn:xmpp:pie:0#mam'><result xmlns='urn:xmpp:mam:2' id='bad'/>"
        f"{''.join(results)}</archive></user></host></server-data>"
    )


async def test_an_interrupted_import_continues(stanzalake: Command, tmp_path: Path) -> None:
    stanzalake.settings["STANZALAKE_BATCH_ROWS"] = "20"
    stanzalake.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "never"
    file = tmp_path / "export.xml"
    portable(file, 3000)
    process = await stanzalake.start("import", "--json", str(file))
    assert process.stderr is not None
    told = await process.stderr.readline()
    assert told.decode().startswith(f"stanzalake: {file}, line 1: ")
    process.terminate()
    out, err = await process.communicate()
    assert process.returncode == 1
    assert "stopped before the end" in err.decode()
    first = json.loads(out)
    assert 0 < first["imported"] < 3000

    del stanzalake.settings["STANZALAKE_BATCH_ROWS"]
    status, out_, err_ = await stanzalake.run("import", "--json", str(file))
    second = json.loads(out_)
    assert (second["imported"], second["present"]) == (3000 - first["imported"], first["imported"])
    assert (status, second["unreadable"]) == (1, 1)
    assert "1 of them could not be read" in err_
    texts = [text for _, text in await exported(stanzalake, JULIET)]
    assert texts == [str(n) for n in range(3000)]


async def test_an_export_can_be_imported_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "juliet.xml.zst"
    here, there = Command(tmp_path / "here"), Command(tmp_path / "there")
    for command in (here, there):
        command.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "never"
        assert (await command.run("migrate"))[0] == 0
    given = [*rows(5), row(from_milliseconds(START - 1, UPPER_HALF), legacy_id="old")]
    with closing(Store.for_admin(settings.load(here.settings))) as store:
        store.insert(given)
    assert (await here.run("export", JULIET_CAPULET, "--output", str(file)))[0] == 0
    assert (await imported(there, str(file)))["imported"] == 6
    assert (await imported(there, str(file)))["present"] == 6
    before, after = [await lines(command) for command in (here, there)]
    assert before == after
    assert len(before) == 6


async def lines(stanzalake: Command) -> list[dict[str, str]]:
    """Give Juliet's messages, with stanzas as XML has them, however they are quoted."""
    _, out, _ = await stanzalake.run("export", JULIET_CAPULET, "--format", "jsonl")
    found = [json.loads(line) for line in out.splitlines()]
    return [{**line, "stanza": ET.canonicalize(line["stanza"])} for line in found]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("missing.xml",), 1, "missing.xml: No such file"),
        (("sqlite:////missing.sqlite",), 1, "No such file"),
        (("postgresql://me:hidden@127.0.0.1:1/x",), 1, "does not answer"),
        (("mysql://me:hidden@127.0.0.1:1/x",), 1, "does not answer"),
        (("oracle://me:hidden@x/y",), 1, "a database is sqlite:///FILE"),
        (("--host", "elsewhere.lit", "x.xml"), 2, "is not among STANZALAKE_HOSTS"),
    ],
)
async def test_an_unusable_source_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    found, _, err = await Command(tmp_path).run("import", *arguments)
    assert (found, said in err) == (status, True), err
    assert "hidden" not in err
    assert "Traceback" not in err


async def test_an_archive_of_mod_mam_is_imported_unchanged(old: Old, stanzalake: Command) -> None:
    held = await talk(old, 0, 3)
    if old.url.startswith("sqlite"):
        status, _, err = await stanzalake.run("import", old.url)
        assert status == 1
        assert "PRAGMA journal_mode=WAL" in err
        with sqlite3.connect(old.server.prosody.data_path / "prosody.sqlite") as database:
            database.execute("PRAGMA journal_mode=WAL")
    juliet = await old.server.client("juliet")
    assert (await juliet.ask("set", PREFS)).get("type") == "result"
    await juliet.offline()

    would = await imported(stanzalake, "--dry-run", old.url)
    assert (would["imported"], would["preferences"]) == (6, 1)
    assert (await imported(stanzalake, "--owner", JULIET, old.url))["imported"] == 3
    assert await exported(stanzalake, JULIET) == held

    held = await talk(old, 3, 6)
    tail = await imported(stanzalake, "--since", "2020-01-01", old.url)
    assert (tail["imported"], tail["present"], tail["preferences"]) == (9, 3, 0)
    assert len(held) == 6
    assert await exported(stanzalake, JULIET) == held

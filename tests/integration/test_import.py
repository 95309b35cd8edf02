"""`stanzalake import`, as an operator uses it: from Prosody's databases, and from files."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devstack.database import Database
from devstack.mariadb import MariaDb
from devstack.postgres import Postgres
from stanzalake.config import settings
from stanzalake.importer.positions import UPPER_HALF
from stanzalake.model.event import VERSION, Tombstone
from stanzalake.model.position import from_milliseconds
from stanzalake.operations.archive import migrate
from stanzalake.store.client import Row, Store
from stanzalake.store.messages import MessageRange, Messages
from stanzalake.store.tombstones import TombstoneRow, Tombstones
from stanzalake.xmpp.retraction import retracted
from tests.support.archives import START, row, rows
from tests.support.command import Command
from tests.support.events import JULIET as JULIET_CAPULET
from tests.support.mod_mam import Old, exported, imported, talk
from tests.support.processes import Run
from tests.support.queries import page, query
from tests.support.server import JULIET, ROMEO, Server
from tests.support.stanzas import ODD, REFUSED

_MODULES = 'storage = { archive = "sql", archive_prefs = "sql" }\ndefault_archive_policy = true\n'
_SQLITE = 'sql = { driver = "SQLite3", database = "prosody.sqlite" }\n'
FIFTH_EDITION = REFUSED["a name of XML's fifth edition"]
MAX_C2S = 250_000
"""Bytes of a stanza that Prosody takes from a client, about."""
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


ROOM = "hall@rooms.capulet.lit"
SHOWN = (
    "<x xmlns='http://jabber.org/protocol/muc#user'>"
    f"<item affiliation='owner' jid='{JULIET_CAPULET}' role='moderator'/></x>"
)


def said(second: int, nick: str, body: str, shown: str = "") -> Row:
    """Give a room's message, whose author is Juliet."""
    text = (
        f"<message xmlns='jabber:client' from='{ROOM}/{nick}' id='m{second}' type='groupchat'>"
        f"<body>{body}</body>{shown}</message>"
    )
    at = from_milliseconds(START + 1000 * second)
    return Row(ROOM, at, ROOM, nick, "in", "groupchat", text, "", JULIET_CAPULET)


async def test_an_exported_room_is_imported_with_ids_nicks_and_tombstones(tmp_path: Path) -> None:
    command, file = Command(tmp_path), tmp_path / "hall.xml"
    command.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "never"
    command.settings["STANZALAKE_HOSTS"] = "capulet.lit, rooms.capulet.lit"
    given = [
        said(1, "Capulet", "hidden"),
        said(2, "Juliet \N{ROSE}", "shown", SHOWN),
        said(3, "Capulet", "rude"),
    ]
    tombstone = Tombstone(
        v=VERSION,
        owner=ROOM,
        position=from_milliseconds(START + 5000),
        peer=ROOM,
        direction="in",
        target=given[2].position,
        moderated=True,
        by=f"{ROOM}/Capulet",
        reason="too rude",
    )
    migrate(settings.load(command.settings))
    with closing(Store.for_admin(settings.load(command.settings))) as store:
        store.insert(given)
        Tombstones(store).write([TombstoneRow.of(tombstone, retracted(tombstone))])
        before = list(Messages(store).read(MessageRange(ROOM)))
    assert (await command.run("export", ROOM, "--output", str(file)))[0] == 0
    assert ">rude<" not in file.read_text()
    command.settings["PROSODY_ARCHIVE_STORE"] = "elsewhere"
    migrate(settings.load(command.settings))
    assert (await imported(command, str(file)))["imported"] == 3
    with closing(Store.for_admin(settings.load(command.settings))) as store:
        after = list(Messages(store).read(MessageRange(ROOM)))
    assert "too rude" in after[2].stanza
    # No file has a real JID that the room did not show: its occupants may read it.
    shown = ["", JULIET_CAPULET, ""]
    assert after == [r._replace(occupant=o) for r, o in zip(before, shown, strict=True)]


async def lines(stanzalake: Command, owner: str = JULIET_CAPULET) -> list[dict[str, str]]:
    """Give the messages of an archive."""
    _, out, _ = await stanzalake.run("export", owner, "--format", "jsonl")
    return [json.loads(line) for line in out.rstrip("\n").split("\n")]


async def test_messages_that_parsers_disagree_about_are_imported_from_mod_mam(
    run: Run, stanzalake: Command, tmp_path: Path
) -> None:
    server = await run(Server(tmp_path / "prosody", _MODULES + _SQLITE, modules=("mam",)))
    romeo = await server.client("romeo")
    odd = [children for children in ODD.values() if len(children) < MAX_C2S]
    for number, children in enumerate(odd):
        romeo.say(JULIET, "b", f"m{number}", children)
    await romeo.ask("set", query(page("<max>0</max>")))
    file = server.prosody.data_path / "prosody.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(
            'INSERT INTO prosodyarchive (host, user, store, key, "when", "with", type, value) '
            'SELECT host, user, store, \'bad\', "when", "with", type, '
            "replace(value, '<body>', ?) FROM prosodyarchive WHERE user = 'juliet' LIMIT 1",
            (FIFTH_EDITION + "<body>",),
        )
        database.commit()
    status, out, err = await stanzalake.run(
        "import", "--json", "--owner", JULIET, f"sqlite:///{file}"
    )
    assert (status, json.loads(out)["imported"], json.loads(out)["unreadable"]) == (1, len(odd), 1)
    line = err.splitlines()[0]
    assert "sort_id " in line
    assert ": the stanza is not well-formed" in line
    assert len(await lines(stanzalake, JULIET)) == len(odd)


async def test_a_message_that_prosody_would_refuse_is_left_out_of_a_file(
    stanzalake: Command, tmp_path: Path
) -> None:
    stanzalake.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "never"
    file = tmp_path / "export.xml"
    portable(file, 3)
    good = file.read_text()
    assert good.count("<body>1</body>") == 1
    file.write_text(good.replace("<body>1</body>", FIFTH_EDITION))
    status, out, err = await stanzalake.run("import", "--json", str(file))
    assert (status, json.loads(out)["imported"], json.loads(out)["unreadable"]) == (1, 2, 2)
    assert f"{file}, line 2: not well-formed" in err
    assert "Ͱ" not in err
    assert [text for _, text in await exported(stanzalake, JULIET)] == ["0", "2"]


@pytest.mark.slow
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

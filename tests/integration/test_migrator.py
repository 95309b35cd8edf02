"""prosody-migrator as docs/moving.md uses it: from files into a database, and back to mod_mam."""

import asyncio
import re
import shlex
import sqlite3
import time
from asyncio.subprocess import PIPE, STDOUT
from contextlib import closing
from pathlib import Path

from devstack.debian import inside
from devstack.prosody import Prosody
from stanzalake.config import settings
from stanzalake.model.position import from_milliseconds
from stanzalake.store.client import Row, Store
from tests.support import documents
from tests.support.archives import visible_id
from tests.support.command import Command
from tests.support.mod_mam import Old, archive, exported, imported, talk
from tests.support.server import HOST, JULIET, ROMEO, Server

GUIDE = (Path(__file__).parents[2] / "docs" / "moving.md").read_text()
CONFIG = Path("/etc/prosody/migrator.cfg.lua")
PROGRAM = "/usr/bin/prosody-migrator"
DATA = "/var/lib/prosody"
MAM = "default_archive_policy = true\n"
SQL = 'storage = { archive = "sql" }\nsql = { driver = "SQLite3", database = "prosody.sqlite" }\n'


def section(title: str) -> str:
    return GUIDE.partition(f"\n### {title}\n")[2].partition("\n### ")[0]


def prepared(title: str, prosody: Prosody, tmp_path: Path) -> str:
    """Give a section's command, and write its configuration.

    Only the host is another, and the directory and the user that Debian has put into the program.
    """
    config = "".join(re.findall(r"^```lua\n(.*?)^```", section(title), re.MULTILINE | re.DOTALL))
    config = config.replace(DATA, str(prosody.data_path)).replace("capulet.lit", HOST)
    (tmp_path / CONFIG.name).write_text(config)
    text = (prosody.root or Path("/")).joinpath(PROGRAM[1:]).read_text()
    text = text.replace(f"'{DATA}'", f"'{prosody.data_path}'").replace("startup.switch_user();", "")
    program = tmp_path / "prosody-migrator"
    program.write_text(text)
    program.chmod(0o755)
    [command] = re.findall(r"\b(?:sed .*)?prosody-migrator .*\.lua", section(title))
    command = re.sub(rf"({PROGRAM}|^prosody-migrator)", str(program), command)
    return command.replace(str(CONFIG), str(tmp_path / CONFIG.name))


async def migrate(title: str, prosody: Prosody, tmp_path: Path) -> None:
    """Do what a section says with prosody-migrator."""
    command = prepared(title, prosody, tmp_path)
    process = await asyncio.create_subprocess_exec(
        *inside(prosody.root, "sh", "-ec", command), cwd=tmp_path, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def ready(tmp_path: Path) -> Command:
    stanzalake = Command(tmp_path)
    stanzalake.settings["STANZALAKE_HOSTS"] = HOST
    assert (await stanzalake.run("migrate"))[0] == 0
    return stanzalake


async def test_an_archive_in_files_becomes_a_database(tmp_path: Path) -> None:
    server = Server(tmp_path / "prosody", MAM, modules=("mam",))
    await server.start()
    held = await talk(Old(server, ""), 0, 3)
    data = server.prosody.data_path
    await migrate("From files", server.prosody, tmp_path)
    await server.stop()
    with closing(sqlite3.connect(data / "archive.sqlite")) as database:
        database.execute("PRAGMA journal_mode=WAL")
    stanzalake = await ready(tmp_path)
    assert (await imported(stanzalake, f"sqlite:///{data}/archive.sqlite"))["imported"] == 6
    assert await exported(stanzalake, JULIET) == held


async def test_what_came_since_goes_back_to_mod_mam(tmp_path: Path) -> None:
    server = Server(tmp_path / "prosody", MAM + SQL, modules=("mam",))
    await server.start()
    before = await talk(Old(server, ""), 0, 2)
    await server.prosody.stop()
    stanzalake = await ready(tmp_path)
    since = await asyncio.to_thread(insert, stanzalake)
    data = server.prosody.data_path
    [block] = documents.section("docs/moving.md", "Going back")
    export, _ = block.lines
    env_file = tmp_path / "stanzalake.env"
    env_file.touch()
    export = export.replace("stanzalake.env", str(env_file)).replace(DATA, str(data))
    export = export.replace("juliet@capulet.lit", JULIET).replace("2026-02-01", "1970-01-01")
    status, _, err = await stanzalake.run(*shlex.split(export)[1:])
    assert status == 0, err
    await migrate("Going back", server.prosody, tmp_path)
    await server.prosody.start()
    assert await archive(await server.client("juliet")) == [*before, since]
    await server.stop()


def insert(stanzalake: Command) -> tuple[str, str]:
    """Archive a message, and give its id and text."""
    position = from_milliseconds(int(time.time() * 1000))
    body = (
        f"<message xmlns='jabber:client' from='{ROMEO}/one' to='{JULIET}'><body>2</body></message>"
    )
    row = Row(JULIET, position, ROMEO, "one", "in", "chat", body)
    store = Store.for_admin(settings.load(stanzalake.settings))
    store.insert([row])
    store.close()
    return visible_id(row), "2"

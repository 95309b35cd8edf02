"""`prosodyctl mod_stanzalake` beside a real Prosody, and without it."""

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest

from stanzalake.model.event import Erasure, Expiry
from stanzalake.model.position import from_milliseconds
from stanzalake.operations.rock import write_rock
from tests.support.components import FakeIngest
from tests.support.documents import section
from tests.support.server import HOST, INGEST, JULIET, QUERY, ROMEO, Server, StartServer
from tests.support.wait import until

FINE, FAILED, MISUSED, WAITING = range(4)
YEAR = 365 * 86_400


async def control(server: Server, *arguments: str, typed: str = "") -> tuple[int, str]:
    return await server.prosody.control("mod_stanzalake", *arguments, typed=typed)


async def status(server: Server) -> tuple[int, dict[str, Any]]:
    code, said = await control(server, "status", "--json")
    # Above it, Prosody may complain about libraries that it lacks.
    return code, json.loads(said.splitlines()[-1])[HOST]


def asked_for(ingest: FakeIngest) -> list[Erasure | Expiry]:
    """Give what came that is no message."""
    return [e for e in ingest.everything if isinstance(e, Erasure | Expiry)]


@pytest.fixture
async def ingest(server: Server) -> AsyncIterator[FakeIngest]:
    yield await server.ingest()
    assert "raceback" not in server.log


async def test_delete_erases_the_archive_until_now(server: Server, ingest: FakeIngest) -> None:
    juliet = await server.client("juliet")
    juliet.say(ROMEO, "before", "m1")
    before = await ingest.arrival("before", JULIET)
    code, said = await control(server, "delete", "--yes", JULIET)
    assert code == FINE, said
    assert f"{HOST}: in the log" in said
    (found,) = asked_for(ingest)
    assert isinstance(found, Erasure)
    assert (found.owner, found.peer, found.account, found.by) == (JULIET, "", False, "prosodyctl")
    assert (found.start, found.end) == (0, found.position)
    assert found.covers(before)
    juliet.say(ROMEO, "after", "m2")
    assert not found.covers(await ingest.arrival("after", JULIET))


async def test_delete_account_erases_preferences_as_well(
    server: Server, ingest: FakeIngest
) -> None:
    code, said = await control(server, "delete", f"Gone@{HOST}", "--account", "--yes")
    assert code == FINE, said
    (found,) = asked_for(ingest)
    assert isinstance(found, Erasure)
    assert (found.owner, found.account) == (f"gone@{HOST}", True)


async def test_delete_asks_for_confirmation(server: Server, ingest: FakeIngest) -> None:
    for typed in ("", "\n", "n\n"):
        code, said = await control(server, "delete", JULIET, typed=typed)
        assert (code, "nothing is deleted" in said) == (FAILED, True), said
    code, said = await control(server, "delete", JULIET, typed="y\n")
    assert code == FINE, said
    assert len(asked_for(ingest)) == 1


async def test_expire_requests_an_expiry(server: Server, ingest: FakeIngest) -> None:
    code, said = await control(server, "expire")
    assert code == FINE, said
    (found,) = asked_for(ingest)
    assert isinstance(found, Expiry)
    assert found.owner == HOST
    assert (await control(server, "expire", HOST.upper()))[0] == FINE
    assert len(asked_for(ingest)) == 2


@pytest.mark.parametrize("target", [(), (HOST,), (JULIET.upper(),), (ROMEO, JULIET)])
async def test_refresh_has_the_query_component_asked_again(
    server: Server, target: tuple[str, ...]
) -> None:
    query = await server.query()
    juliet = await server.client("juliet")
    code, said = await control(server, "refresh", *target)
    assert (code, f"{HOST}: done." in said) == (FINE, True), said
    juliet.say(JULIET, "hi", "m1")
    await until(lambda: [r.header["owner"] for r in query.asked].count(JULIET) == 2)


async def test_refresh_of_what_is_no_account_or_host(server: Server) -> None:
    for target, reason in ((f"{JULIET}/one", "neither"), ("nobody@else.lit", "no host with")):
        code, said = await control(server, "refresh", target)
        assert (code, reason in said) == (FAILED, True), said


async def test_wait_0_returns_at_once(server: Server) -> None:
    code, said = await control(server, "delete", "--wait", "0", "--yes", JULIET)
    assert (code, f"{HOST}: requested." in said) == (FINE, True), said
    ingest = await server.ingest()
    await until(lambda: asked_for(ingest))


async def test_without_ingest_the_request_waits_in_the_journal(server: Server) -> None:
    code, said = await control(server, "delete", "--wait", "2", "--yes", JULIET)
    assert code == WAITING
    assert "ingest has not taken it within 2 s" in said
    ingest = await server.ingest()
    await until(lambda: asked_for(ingest))


async def test_a_hung_prosody_is_reported(server: Server) -> None:
    server.prosody.signal(SIGSTOP)
    try:
        code, said = await control(server, "expire", "--wait", "0.2")
        assert code == WAITING
        assert "Prosody has not taken it up within 0.2 s" in said
        assert (await status(server))[1]["requests"] == 1
    finally:
        server.prosody.signal(SIGCONT)
    ingest = await server.ingest()
    await until(lambda: asked_for(ingest))


async def test_a_stopped_prosody_carries_the_request_out_at_its_next_start(server: Server) -> None:
    await server.prosody.stop()
    code, said = await control(server, "delete", "--yes", JULIET)
    assert code == WAITING
    assert "Prosody does not run, and does it at its next start" in said
    assert (await control(server, "expire"))[0] == WAITING
    await server.prosody.start()
    ingest = await server.ingest()
    await until(lambda: len(asked_for(ingest)) == 2)
    assert [type(e) for e in asked_for(ingest)] == [Erasure, Expiry]
    assert not list((server.journal / "inbox").iterdir())


async def test_an_unwritable_inbox_is_an_error(server: Server) -> None:
    server.journal.mkdir(exist_ok=True)
    (server.journal / "inbox").touch()
    code, said = await control(server, "expire")
    assert (code, f"{HOST}: cannot be requested" in said) == (FAILED, True), said


WRONG = {
    "no command": [],
    "unknown command": ["truncate"],
    "unknown option": ["status", "--yaml"],
    "another command's option": ["expire", "--yes"],
    "no account": ["delete", "--yes"],
    "a domain": ["delete", "--yes", HOST],
    "a session": ["delete", "--yes", f"{JULIET}/one"],
    "two accounts": ["delete", "--yes", JULIET, ROMEO],
    "no seconds": ["expire", "--wait"],
    "seconds that are none": ["expire", "--wait", "soon"],
    "no file": ["rewind", HOST],
    "seconds in the past": ["expire", "--wait", "-1"],
}


def be_ahead(server: Server) -> int:
    """Leave a last position that is a year ahead in the journal; give it."""
    ahead = from_milliseconds(1000 * int(time.time() + YEAR))
    line = f'{{"type":"message","v":1,"position":{ahead},"owner":"{JULIET}"}}\n'
    (server.journal / f"{0:020d}.ndjson").write_text(line)
    (server.journal / "acked").write_text(f"{len(line)} {ahead}\n")
    return ahead


async def said_position(server: Server, ingest: FakeIngest, user: str, body: str) -> int:
    """Give the position of a user's note to self."""
    owner = f"{user}@{HOST}"
    client = await server.client(user, body)
    client.say(owner, body, body)
    return (await ingest.arrival(body, owner)).position


async def refused(server: Server, reason: str, *arguments: str) -> None:
    code, said = await control(server, *arguments)
    assert code == FAILED
    assert reason in said


async def test_rewind_puts_all_but_the_owners_ahead_back_to_the_clock(
    server: Server, tmp_path: Path
) -> None:
    await server.prosody.stop()
    ahead = be_ahead(server)
    await server.prosody.start()
    await until(lambda: server.log.count("hours ahead of the clock") == 1)
    _, state = await status(server)
    assert state["ahead_seconds"] > YEAR - 3600
    listed = tmp_path / "ahead.txt"
    listed.write_text(f"owners 2\n{JULIET}\nmercutio@elsewhere.lit\n")
    rewind = ("rewind", HOST, str(listed))
    await refused(server, "stop Prosody first", *rewind)
    ingest = await server.ingest()
    assert await said_position(server, ingest, "romeo", "r1") > ahead
    await until(lambda: taken(server))
    await ingest.stop()
    await server.prosody.stop()
    listed.write_text(f"owners 3\n{JULIET}\n{ROMEO}\n")
    await refused(server, "not the whole output", *rewind)
    # As if romeo had nothing in the archive.
    listed.write_text(f"owners 1\n{JULIET}\n")
    code, said = await control(server, *rewind)
    assert code == FINE, said
    await refused(server, "no position is ahead of the clock", *rewind)
    positions = {"juliet": ahead + 1, "romeo": from_milliseconds(1000 * int(time.time()))}
    for number in range(3):
        await server.prosody.start()
        ingest = await server.ingest()
        for user, last in positions.items():
            positions[user] = await said_position(server, ingest, user, f"{user}{number}")
            assert positions[user] > last
        await ingest.stop()
        await (server.prosody.stop() if number else server.prosody.kill())
    assert positions["juliet"] - ahead < from_milliseconds(600_000)
    assert positions["romeo"] < from_milliseconds(1000 * int(time.time() + 60))
    assert server.log.count("hours ahead of the clock") == 1


def taken(server: Server) -> bool:
    """Tell whether ingest has acknowledged all of the journal."""
    acked = int((server.journal / "acked").read_text().split()[0])
    *_, newest = sorted(server.journal.glob("*.ndjson"))
    return acked == int(newest.stem) + newest.stat().st_size


async def test_rewind_refuses_while_events_wait(server: Server, tmp_path: Path) -> None:
    juliet = await server.client("juliet")
    juliet.say(JULIET, "waiting", "m1")
    await juliet.message("m1")
    await server.prosody.stop()
    listed = tmp_path / "ahead.txt"
    listed.write_text("owners 0\n")
    await refused(server, "events wait in the journal", "rewind", HOST, str(listed))


async def test_a_wrong_command_line_does_nothing(server: Server) -> None:
    for what, arguments in WRONG.items():
        code, said = await control(server, *arguments)
        assert code == MISUSED, what
        assert any(hint in said for hint in ("prosodyctl mod_stanzalake", "USER@HOST", "a FILE"))
    for arguments in (["status", QUERY], ["expire", "b.c"], ["delete", "--yes", "a@b.c"]):
        code, said = await control(server, *arguments)
        assert (code, f"these are: {HOST}" in said) == (FAILED, True), said
    assert not (server.journal / "inbox").exists()


async def test_help_prints_the_usage(server: Server) -> None:
    for arguments in (["--help"], ["delete", "--help"]):
        code, said = await control(server, *arguments)
        assert code == FINE
        assert all(name in said for name in ("status", "delete", "expire", "Exit status"))


async def test_the_status_while_all_is_well(server: Server, ingest: FakeIngest) -> None:
    await server.query()
    juliet = await server.client("juliet")
    juliet.say(ROMEO, "hi", "m1")
    await ingest.arrival("hi", ROMEO)
    beat = server.journal / "status"
    await until(lambda: '"acked_at"' in beat.read_text() and "false" not in beat.read_text())
    code, state = await status(server)
    assert code == FINE
    assert state.pop("acknowledged")
    assert state == {
        "running": True,
        "waiting_bytes": 0,
        "limit_bytes": 2**30,
        "share": 0,
        "segments": 1,
        "requests": 0,
        "lost": 0,
        "ingest": {INGEST: True},
        "query": {QUERY: True},
    }
    code, said = await control(server, "status", HOST)
    assert code == FINE
    assert f"{INGEST} is connected" in said


async def test_the_status_while_ingest_is_away(server: Server) -> None:
    juliet = await server.client("juliet")
    juliet.say(JULIET, "hi", "m1")
    await juliet.message("m1")
    beat = server.journal / "status"
    await until(lambda: "no ingest component" in beat.read_text())
    code, state = await status(server)
    (segment,) = server.journal.glob("*.ndjson")
    assert code == WAITING
    assert state["waiting_bytes"] == segment.stat().st_size
    assert state["trouble"] == "no ingest component is connected"
    assert state["oldest"] <= state["since"]
    assert state["ingest"] == {INGEST: False}
    said = (await control(server, "status"))[1]
    assert f"{INGEST} is NOT connected" in said
    assert "TROUBLE" in said


async def test_the_status_of_a_stopped_prosody(server: Server) -> None:
    juliet = await server.client("juliet")
    juliet.say(JULIET, "hi", "m1")
    await juliet.message("m1")
    await server.prosody.stop()
    code, state = await status(server)
    assert code == WAITING
    assert not state["running"]
    assert state["waiting_bytes"] > 0
    assert state["oldest"]
    assert "does NOT run" in (await control(server, "status"))[1]


@pytest.mark.parametrize("name", ["", "status"])
async def test_an_unreadable_journal_is_an_error(server: Server, name: str) -> None:
    await server.ingest()
    await until((server.journal / "status").exists)
    # Root may read everything, unless these two capabilities are dropped.
    as_owner = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    path = server.journal / name
    before = path.stat().st_mode
    path.chmod(0)
    code, said = await server.prosody.control("mod_stanzalake", "status", within=as_owner)
    path.chmod(before)
    assert code == WAITING
    assert "Permission denied: run prosodyctl as root or as Prosody's user" in said
    assert "does NOT run" not in said


async def test_prosodyctl_installs_the_modules_from_a_file(
    start_server: StartServer, tmp_path: Path
) -> None:
    place = f'installer_plugin_path = "{tmp_path}/installed"'
    server = await start_server(extra_global=place)
    await server.prosody.stop()
    server.prosody.tree = tmp_path / "nothing"
    server.prosody.write_config()
    assert "wait for ingest" not in (await control(server, "status"))[1]
    file = write_rock(tmp_path)
    code, said = await server.prosody.control("install", str(file))
    assert (code, "is now installed in" in said) == (0, True), said
    _, said = await server.prosody.control("list")
    assert "mod_stanzalake" in said

    await server.prosody.start()
    ingest, juliet = await server.ingest(), await server.client("juliet")
    juliet.say(ROMEO, "hello", "m1")
    await ingest.arrival("hello", JULIET)
    code, said = await server.prosody.control("deluser", JULIET)
    assert code == 0, said
    await until(lambda: any(isinstance(e, Erasure) for e in ingest.everything))


async def check_config(server: Server, config: str) -> list[str]:
    server.prosody.config_path.write_text(f"run_as_root = true\n{config}")
    (server.prosody.directory / "conf.d").mkdir(exist_ok=True)
    _, said = await server.prosody.control("check", "config")
    return [line for line in said.partition("Checking config...")[2].split("\n") if line]


async def test_check_config_finds_only_what_the_document_explains(server: Server) -> None:
    [lua] = section("docs/installing.md", "On Debian, in one process", "lua")
    lines = lua.text.replace("...", "a key for tests that is long enough")
    debian = (server.prosody.root or Path("/")) / "etc" / "prosody" / "prosody.cfg.lua"
    config = re.sub(r"\nplugin_paths = .*", "", debian.read_text())
    before, host, after = config.partition("\nVirtualHost")
    old = await check_config(server, config)
    new = [x for x in await check_config(server, f"{before}\n{lines}{host}{after}") if x not in old]
    assert new[:3] == [
        "    Your configuration contains the following unreferenced components:",
        f"        {INGEST}",
        f"        {QUERY}",
    ]
    explanation = new[3:]
    assert explanation[0].startswith("    Clients may not be able to discover these services")
    assert len(explanation) == 4

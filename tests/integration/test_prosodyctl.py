"""`prosodyctl mod_stanzalake` beside a real Prosody, and without it."""

import json
from collections.abc import AsyncIterator
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest

from stanzalake.model.event import Erasure, Expiry
from tests.support.components import FakeIngest
from tests.support.server import HOST, INGEST, JULIET, QUERY, ROMEO, Server
from tests.support.wait import until

FINE, FAILED, MISUSED, WAITING = range(4)


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
    "seconds in the past": ["expire", "--wait", "-1"],
}


async def test_a_wrong_command_line_does_nothing(server: Server) -> None:
    for what, arguments in WRONG.items():
        code, said = await control(server, *arguments)
        assert (code, "prosodyctl mod_stanzalake" in said or "USER@HOST" in said) == (
            MISUSED,
            True,
        ), what
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

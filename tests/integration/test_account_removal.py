"""However an account is removed, its archive learns of it: up to the log, in a real Prosody."""

import json

import pytest

from stanzalake.model.event import Erasure
from tests.support.clients import RawClient
from tests.support.components import FakeIngest
from tests.support.server import HOST, JULIET, PASSWORD, ROMEO, Server, StartServer
from tests.support.wait import until

NOT_YET = f"The archive of the removed account {JULIET} is not erased yet"
KEPT_IN_MEMORY = f"That {JULIET} is removed is lost if Prosody ends"


def erasures(ingest: FakeIngest) -> list[Erasure]:
    """Give the erasures that came, repeats dropped."""
    found = {e.position: e for e in ingest.everything if isinstance(e, Erasure)}
    return [found[position] for position in sorted(found)]


async def erasure(ingest: FakeIngest) -> Erasure:
    """Give the one erasure that comes, after it was checked."""
    await until(lambda: erasures(ingest))
    (found,) = erasures(ingest)
    assert (found.owner, found.peer, found.account) == (JULIET, "", True)
    assert found.by == "account removal"
    assert (found.start, found.end) == (0, found.position)
    return found


async def leave(juliet: RawClient) -> None:
    """Have the user remove the account (XEP-0077 §3.2)."""
    remove = "<query xmlns='jabber:iq:register'><remove/></query>"
    assert (await juliet.ask("set", remove)).get("type") == "result"


LIMIT = 65536
FULL = {
    "options": f"stanzalake_journal_limit = {LIMIT}",
    "modules": ["stanzalake", "user_account_management"],
}


async def fill(server: Server, juliet: RawClient) -> None:
    """Write to the journal, to the last byte."""
    juliet.say(JULIET, "x", "m1")
    await juliet.message("m1")
    (segment,) = server.journal.glob("*.ndjson")
    # What one says to oneself is one event; the second differs in its text only.
    juliet.say(JULIET, "x" * (LIMIT - 2 * segment.stat().st_size + 1), "m2")
    await until(lambda: segment.stat().st_size == LIMIT)


async def test_an_account_that_its_user_removes(start_server: StartServer) -> None:
    server = await start_server(modules=["stanzalake", "user_account_management"])
    ingest, juliet = await server.ingest(), await server.client("juliet")
    juliet.say(ROMEO, "before", "m1")
    before = await ingest.arrival("before", JULIET)
    await leave(juliet)
    found = await erasure(ingest)
    assert found.covers(before)
    await server.prosody.register("juliet", PASSWORD)
    again = await server.client("juliet")
    again.say(ROMEO, "after", "m2")
    assert not found.covers(await ingest.arrival("after", JULIET))


async def test_an_account_that_an_admin_removes(server: Server) -> None:
    ingest = await server.ingest()
    code, said = await server.prosody.control("shell", "user", "delete", JULIET)
    assert code == 0, said
    await erasure(ingest)


@pytest.mark.parametrize("command", [("deluser", JULIET), ("unregister", "juliet", HOST)])
async def test_an_account_that_prosodyctl_removes_while_prosody_runs(
    server: Server, command: tuple[str, ...]
) -> None:
    ingest, juliet = await server.ingest(), await server.client("juliet")
    juliet.say(ROMEO, "before", "m1")
    before = await ingest.arrival("before", JULIET)
    code, said = await server.prosody.control(*command)
    assert code == 0, said
    found = await erasure(ingest)
    assert found.covers(before)
    # Prosody itself lets the session go on, and what it says would be archived.
    await juliet.expect(lambda x: x.find("{urn:ietf:params:xml:ns:xmpp-streams}text") is not None)
    assert "raceback" not in server.log


async def test_an_account_that_prosodyctl_removes_while_prosody_is_stopped(server: Server) -> None:
    first, juliet = await server.ingest(), await server.client("juliet")
    juliet.say(ROMEO, "before", "m1")
    before = await first.arrival("before", JULIET)
    await first.stop()
    await server.prosody.stop()
    code, said = await server.prosody.control("unregister", "juliet", HOST)
    assert code == 0, said
    await server.prosody.register("juliet", PASSWORD)
    await server.prosody.start()
    ingest, juliet = await server.ingest(), await server.client("juliet")
    juliet.say(ROMEO, "after", "m2")
    after = await ingest.arrival("after", JULIET)
    found = await erasure(ingest)
    assert found.covers(before)
    assert not found.covers(after)


async def test_a_full_journal_keeps_it_through_a_crash(start_server: StartServer) -> None:
    server = await start_server(**FULL)
    juliet = await server.client("juliet")
    await fill(server, juliet)
    await leave(juliet)
    assert NOT_YET in server.log
    await server.crash()
    await until(lambda: "Requests to the archive wait" in server.log)
    ingest = await server.ingest()
    await erasure(ingest)
    assert server.log.count("Requests to the archive wait") == 1
    await until(lambda: "Requests to the archive are carried out again" in server.log)


async def test_without_any_room_it_is_kept_in_memory(start_server: StartServer) -> None:
    server = await start_server(**FULL)
    juliet = await server.client("juliet")
    await fill(server, juliet)
    in_the_way = server.journal / "inbox"
    in_the_way.touch()
    await leave(juliet)
    assert NOT_YET in server.log
    assert KEPT_IN_MEMORY in server.log
    in_the_way.unlink()
    await erasure(await server.ingest())


async def test_prosodyctl_says_it_if_it_cannot_tell_the_archive(server: Server) -> None:
    server.journal.mkdir(exist_ok=True)
    (server.journal / "inbox").touch()
    _, said = await server.prosody.control("unregister", "juliet", HOST)
    assert f"prosodyctl mod_stanzalake delete --account {JULIET}" in said


async def test_prosody_without_the_line_for_prosodyctl_says_so(start_server: StartServer) -> None:
    warning = "not told of accounts that prosodyctl removes"
    assert warning not in (await start_server()).log
    assert warning in (await start_server('storage = "internal"')).log


NO_REQUESTS = {
    "no JSON": "{",
    "another host's": {"type": "erasure", "owner": "a@b", "account": True, "by": ""},
    "a domain's": {"type": "erasure", "owner": HOST, "account": True, "by": ""},
    "a session's": {"type": "erasure", "owner": f"{JULIET}/one", "account": True, "by": ""},
    "not normalised": {"type": "erasure", "owner": f"Juliet@{HOST}", "account": True, "by": ""},
    "of no account": {"type": "erasure", "owner": JULIET, "by": ""},
    "by nobody": {"type": "erasure", "owner": JULIET, "account": True},
    "too long": {"type": "erasure", "owner": JULIET, "account": True, "by": "x" * 9000},
    "expiry elsewhere": {"type": "expiry", "owner": "montague.lit"},
    "unknown": {"type": "nothing", "owner": JULIET},
    "a list": [1],
    "a number": 1,
}


async def test_what_is_no_request_is_kept_aside(server: Server) -> None:
    ingest = await server.ingest()
    inbox = server.journal / "inbox"
    inbox.mkdir(exist_ok=True)
    kept = set()
    for number, value in enumerate(NO_REQUESTS.values()):
        path = inbox / f"{number:014d}-x.json"
        kept.add(f"{path.name}.invalid")
        path.write_text(value if isinstance(value, str) else json.dumps(value))
    await until(lambda: {path.name for path in inbox.iterdir()} == kept)
    code, said = await server.prosody.control("deluser", JULIET)
    assert code == 0, said
    await erasure(ingest)

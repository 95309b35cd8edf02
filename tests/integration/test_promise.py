"""An announced id is a promise: what has none is handled as if there were no archive."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from stanzalake.model.event import Erasure
from tests.support.clients import CLIENT, RawClient, parsed, stanza_ids
from tests.support.components import FakeQuery
from tests.support.journals import texts
from tests.support.server import HOST, JULIET, PASSWORD, ROMEO, Server, StartServer
from tests.support.wait import until

NO_OFFLINE = 'modules_disabled = { "offline" }\n'
PREFS = "<prefs xmlns='urn:xmpp:mam:2' default='{}'><always/><never/></prefs>"
PING = "<ping xmlns='urn:xmpp:ping'/>"
QUERY = "<query xmlns='urn:xmpp:mam:2'/>"
SMACKS = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"


async def befriend(user: RawClient, contact: str) -> None:
    await user.ask("set", f"<query xmlns='jabber:iq:roster'><item jid='{contact}'/></query>")


def is_bounce(id_: str) -> Callable[[ET.Element], bool]:
    return lambda x: x.tag == f"{CLIENT}message" and x.get("type") == "error" and x.get("id") == id_


async def choose(client: RawClient, query: FakeQuery, default: str) -> None:
    query.answer = lambda request: query.preferences(request, default)
    await client.ask("set", PREFS.format(default))


async def hibernate(client: RawClient) -> None:
    """Have a session wait for its resumption, with its connection gone."""
    client.send_raw(SMACKS)
    await client.ask("get", PING, client.boundjid.host)
    assert client.transport is not None
    client.transport.abort()


@pytest.fixture
def sleepy(tmp_path: Path) -> dict[str, object]:
    """Give the options of a Prosody that tells when a session has hibernated for its second."""
    (tmp_path / "mod_undertaker.lua").write_text(
        'module:hook("resource-unbind", function (event)\n'
        '\tmodule:log("info", "unbound %s", event.session.full_jid);\nend);\n'
    )
    return {
        "extra_global": "smacks_hibernation_time = 1",
        "modules": ["stanzalake", "undertaker"],
        "module_dirs": [tmp_path],
    }


async def appear(client: RawClient) -> None:
    """Ask the archive, then become available, as clients do."""
    await client.ask("set", QUERY)
    client.send_raw("<presence/>")
    await client.expect(lambda x: x.tag == f"{CLIENT}presence")


async def asleep_for_good(server: Server, client: RawClient) -> None:
    """Wait until a session has hibernated for too long."""
    await until(lambda: f"unbound {client.boundjid}" in server.log)


@pytest.mark.parametrize("offline", [True, False])
async def test_a_strangers_message_to_a_sleeping_phone_is_not_lost(
    start_server: StartServer, sleepy: dict[str, object], offline: bool
) -> None:
    server = await start_server("" if offline else NO_OFFLINE, policy="roster", **sleepy)
    await server.query()
    juliet, romeo = await server.client("juliet", "phone"), await server.client("romeo")
    await juliet.ask("set", QUERY)
    await hibernate(juliet)
    romeo.say(JULIET, "hello, stranger", "m1")
    await asleep_for_good(server, juliet)
    if not offline:
        await romeo.expect(is_bounce("m1"))
        return
    phone = await server.client("juliet", "phone", available=False)
    await appear(phone)
    kept = await phone.message("m1")
    assert kept.find("{urn:xmpp:delay}delay") is not None
    assert stanza_ids(kept) == []
    assert not romeo.found(is_bounce("m1"))


async def test_a_contacts_message_to_a_sleeping_phone_is_left_to_the_archive(
    start_server: StartServer, sleepy: dict[str, object]
) -> None:
    server = await start_server(policy="roster", **sleepy)
    ingest, _ = await server.ingest(), await server.query()
    juliet, romeo = await server.client("juliet", "phone"), await server.client("romeo")
    await befriend(juliet, ROMEO)
    await juliet.ask("set", QUERY)
    await hibernate(juliet)
    romeo.say(JULIET, "hello, friend", "m1")
    await ingest.arrival("hello, friend", JULIET)
    await asleep_for_good(server, juliet)
    phone = await server.client("juliet", "phone", available=False)
    await appear(phone)
    romeo.say(JULIET, "now", "m2")
    await phone.message("m2")
    assert not phone.found(lambda x: x.get("id") == "m1")
    assert not romeo.found(is_bounce("m1"))


async def test_archived_offline_messages_stay_for_a_client_without_the_archive(
    start_server: StartServer,
) -> None:
    server = await start_server(policy="roster")
    await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await befriend(juliet, ROMEO)
    await juliet.offline()
    romeo.say(JULIET, "from a friend", "m1")
    await befriend(romeo, JULIET)
    other = await server.client("romeo", "two")
    other.send_raw(
        f"<message to='{JULIET}' type='chat' id='m2'><x xmlns='urn:not-archived'/></message>"
    )
    await other.ask("get", PING, other.boundjid.host)
    reader = await server.client("juliet", "reader", available=False)
    await appear(reader)
    await reader.message("m2")
    assert not reader.found(lambda x: x.get("id") == "m1")
    await reader.offline()
    plain = await server.client("juliet", "plain")
    await plain.message("m1")
    assert not plain.found(lambda x: x.get("id") == "m2")


KEPT_OUT: dict[str, dict[str, object]] = {
    "by policy": {"policy": "roster"},
    "by smart archiving": {"policy": "true", "smart": True},
    "by preferences": {"policy": "true"},
}


@pytest.mark.parametrize("name", KEPT_OUT)
async def test_without_offline_storage_what_is_not_archived_bounces(
    start_server: StartServer, name: str
) -> None:
    server = await start_server(NO_OFFLINE, **KEPT_OUT[name])
    query = await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    if name == "by preferences":
        await choose(juliet, query, "never")
    await juliet.offline()
    romeo.say(JULIET, "lost?", "m1")
    bounce = await romeo.expect(is_bounce("m1"))
    assert (
        bounce.find(f"{CLIENT}error/{{urn:ietf:params:xml:ns:xmpp-stanzas}}service-unavailable")
        is not None
    )


NOTE = "<message type='chat' id='m1'><body>note</body></message>"
CALL = (
    f"<message to='{JULIET}/two' id='m1'><propose xmlns='urn:xmpp:jingle-message:0' id='c'/>"
    "</message>"
)


@pytest.mark.parametrize(
    ("stanza", "policy"), [(NOTE, "roster"), (CALL, "true")], ids=["note to self", "excluded"]
)
async def test_no_id_is_announced_for_what_is_not_kept(
    start_server: StartServer, stanza: str, policy: str
) -> None:
    server = await start_server(policy=policy)
    ingest, _ = await server.ingest(), await server.query()
    juliet, two = await server.client("juliet"), await server.client("juliet", "two")
    await befriend(juliet, ROMEO)
    juliet.send_raw(stanza)
    assert stanza_ids(await two.message("m1")) == []
    juliet.say(ROMEO, "settled", "m2")
    await ingest.arrival("settled", JULIET)
    assert [">settled<" in e.stanza for e in ingest.events if e.owner == JULIET] == [True]


async def test_a_choice_is_in_force_for_the_next_message_and_in_doubt_until_its_answer(
    start_server: StartServer,
) -> None:
    server = await start_server()
    ingest, query = await server.ingest(), await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    query.answer = lambda _: ""
    asked = juliet.send_iq("set", PREFS.format("never"))
    await until(lambda: query.requests)
    romeo.say(JULIET, "in between", "m1")
    await ingest.arrival("in between", JULIET)
    assert stanza_ids(await juliet.message("m1")) == []
    query.send_raw(query.preferences(query.requests[0], "never"))
    await juliet.answer(asked)
    romeo.say(JULIET, "unwanted", "m2")
    assert stanza_ids(await juliet.message("m2")) == []
    await choose(juliet, query, "always")
    romeo.say(JULIET, "wanted", "m3")
    assert stanza_ids(await juliet.message("m3"))
    await ingest.arrival("wanted", JULIET)
    bodies = [
        parsed(e.stanza).findtext(f"{CLIENT}body") for e in ingest.events if e.owner == JULIET
    ]
    assert bodies == ["in between", "wanted"]


async def test_a_choice_outlasts_prosody(start_server: StartServer) -> None:
    server = await start_server()
    _, query = await server.ingest(), await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await choose(juliet, query, "never")
    await server.crash()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    romeo.say(JULIET, "unwanted", "m1")
    assert stanza_ids(await juliet.message("m1")) == []
    assert [request.header["owner"] for request in query.asked].count(JULIET) == 1


async def test_a_choice_in_flight_at_a_crash_is_asked_for(start_server: StartServer) -> None:
    server = await start_server("stanzalake_query_timeout = 2")
    ingest, query = await server.ingest(), await server.query()
    juliet = await server.client("juliet")
    query.answer = lambda _: ""
    juliet.send_iq("set", PREFS.format("never"))
    await until(lambda: query.requests)
    await server.crash()
    await query.ready()
    never = {"activated": True, "default": "never"}
    query.tell = lambda request: query.state(
        request, 1, **never if request.header["owner"] == JULIET else {}
    )
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    romeo.say(JULIET, "who knows", "m0")
    assert stanza_ids(await juliet.message("m0")) == []
    await ingest.arrival("who knows", JULIET)

    def is_asked_for() -> bool:
        romeo.say(JULIET, "and now?", "")
        return [request.header["owner"] for request in query.asked].count(JULIET) == 2

    await until(is_asked_for)
    await juliet.ask("get", PING, juliet.boundjid.host)
    romeo.say(JULIET, "unwanted", "m1")
    assert stanza_ids(await juliet.message("m1")) == []
    romeo.say(ROMEO, "settled", "m2")
    await ingest.arrival("settled", ROMEO)
    assert not [e for e in ingest.events if "unwanted" in e.stanza and e.owner == JULIET]


async def test_an_owner_of_unknown_state_is_archived_without_an_id(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "mod_listener.lua").write_text(
        'module:hook("archive-message-added", function (event)\n'
        '\tmodule:log("info", "added %s", event.for_user);\nend);\n'
    )
    server = await start_server(modules=["stanzalake", "listener"], module_dirs=[tmp_path])
    ingest = await server.ingest()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    romeo.say(JULIET, "nobody knows", "m1")
    assert stanza_ids(await juliet.message("m1")) == []
    await ingest.arrival("nobody knows", JULIET)
    await ingest.arrival("nobody knows", ROMEO)
    assert "added" not in server.log


def owners_asked_for(query: FakeQuery) -> list[str]:
    return [request.header["owner"] for request in query.asked]


async def test_a_logged_in_account_is_asked_for_once_a_query_component_connects(
    start_server: StartServer,
) -> None:
    server = await start_server()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    query = await server.query(busy=True)
    await until(lambda: {JULIET, ROMEO} <= {*owners_asked_for(query)})
    query.tell = query.state
    await until(server.prosody.state_file("juliet").exists)
    romeo.say(JULIET, "the first one", "m1")
    assert stanza_ids(await juliet.message("m1"))


async def test_messages_that_wait_in_the_journal_hold_up_no_question(
    start_server: StartServer,
) -> None:
    server = await start_server()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    romeo.say(JULIET, "nobody takes it", "m1")
    assert stanza_ids(await juliet.message("m1")) == []
    await server.query()
    await until(server.prosody.state_file("juliet").exists)
    romeo.say(JULIET, "nor this", "m2")
    assert stanza_ids(await juliet.message("m2"))


async def test_the_erasure_of_an_account_in_the_journal_comes_before_a_question(
    start_server: StartServer,
) -> None:
    server = await start_server()
    code, output = await server.prosody.control("deluser", JULIET)
    assert code == 0, output
    await until(lambda: any("erasure" in text for text in texts(server.journal)))
    await server.crash()
    await server.prosody.register("juliet", PASSWORD)
    await server.client("juliet")
    query = await server.query()
    await query.round_trip()
    assert owners_asked_for(query) == []
    await server.ingest()
    await until(lambda: owners_asked_for(query) == [JULIET])


async def sign_up(user: str, port: int) -> None:
    """Register an account in-band (XEP-0077)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"<stream:stream to='{HOST}' version='1.0' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'><iq type='set' id='r'><query "
        f"xmlns='jabber:iq:register'><username>{user}</username><password>{PASSWORD}</password>"
        "</query></iq>".encode()
    )
    await reader.readuntil(b"</stream:features>")
    answer = await reader.readuntil(b">")
    assert b"type='result'" in answer, answer
    writer.close()
    await writer.wait_closed()


async def test_a_new_account_is_asked_for_before_it_logs_in(start_server: StartServer) -> None:
    server = await start_server("allow_registration = true", modules=["stanzalake", "register_ibr"])
    query = await server.query()
    await sign_up("nurse", server.prosody.client_port)
    await until(lambda: owners_asked_for(query) == [f"nurse@{HOST}"])


async def test_push_is_not_told_of_what_is_not_kept(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "mod_listener.lua").write_text(
        'module:hook("archive-message-added", function (event)\n'
        '\tmodule:log("info", "added %s", event.for_user);\nend);\n'
    )
    server = await start_server(
        modules=["stanzalake", "listener"], module_dirs=[tmp_path], policy="roster"
    )
    await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await befriend(juliet, ROMEO)
    romeo.say(JULIET, "hi", "m1")
    assert stanza_ids(await juliet.message("m1"))
    assert re.findall("added (.*)", server.log) == ["juliet"]


async def test_a_removed_account_leaves_no_choice_to_the_next_of_its_name(
    start_server: StartServer,
) -> None:
    server = await start_server()
    ingest, query = await server.ingest(), await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await choose(juliet, query, "never")
    code, output = await server.prosody.control("deluser", JULIET)
    assert code == 0, output
    await until(lambda: [e for e in ingest.everything if isinstance(e, Erasure)])
    await server.prosody.register("juliet", PASSWORD)
    juliet = await server.client("juliet", "new")
    romeo.say(JULIET, "welcome", "m1")
    assert stanza_ids(await juliet.message("m1"))

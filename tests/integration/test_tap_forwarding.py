"""How the tap forwards archive queries and brings back what they found, in a real Prosody."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

from tests.support.clients import RawClient, condition
from tests.support.components import (
    DELEGATION,
    PRIVILEGE,
    FakeQuery,
    inner_iq,
    privileged,
    stamp,
)
from tests.support.server import HOST, JULIET, QUERY, ROMEO, Server, StartServer
from tests.support.wait import until

QUERY_ALL = "<query xmlns='urn:xmpp:mam:2' queryid='f27'/>"
PREFS = "<prefs xmlns='urn:xmpp:mam:2' default='roster'><always/><never/></prefs>"
FIN = "{urn:xmpp:mam:2}fin"
UNAVAILABLE = "cancel/service-unavailable"


class Scene(NamedTuple):
    """Juliet online, and query."""

    server: Server
    query: FakeQuery
    juliet: RawClient

    async def asked(self) -> ET.Element:
        """Have Juliet ask, and give the envelope, which is not answered."""
        self.query.answer = lambda _: None
        self.juliet.send_iq("set", QUERY_ALL)
        await until(lambda: self.query.envelopes)
        return self.query.envelopes[0]


@pytest.fixture
async def scene(server: Server) -> AsyncIterator[Scene]:
    yield Scene(server, await server.query(), await server.client("juliet"))
    assert "raceback" not in server.log


@pytest.mark.requirement("355-03", "355-04", "356-01", "356-08")
async def test_it_says_what_query_may_do(scene: Scene) -> None:
    await until(lambda: len(scene.query.announced) == 2)
    delegation, privilege = scene.query.announced
    assert delegation.get("from") == privilege.get("from") == HOST
    granted = delegation.find(f"{DELEGATION}delegation/{DELEGATION}delegated")
    assert granted is not None
    assert granted.attrib == {"namespace": "urn:xmpp:mam:2"}
    permission = privilege.find(f"{PRIVILEGE}privilege/{PRIVILEGE}perm")
    assert permission is not None
    assert permission.attrib == {"access": "message", "type": "outgoing"}


@pytest.mark.requirement("355-09", "355-11", "355-13", "313-13")
@pytest.mark.parametrize("to", ["", JULIET])
async def test_a_query_goes_out_in_its_envelope_and_its_answer_comes_back(
    scene: Scene, to: str
) -> None:
    answer = await scene.juliet.ask("set", QUERY_ALL, to)
    assert answer.get("type") == "result"
    assert answer.find(FIN) is not None
    (outer,) = scene.query.envelopes
    assert (outer.get("type"), outer.get("from"), outer.get("to")) == ("set", HOST, QUERY)
    inner = inner_iq(outer)
    assert (inner.get("from"), inner.get("type")) == (f"{JULIET}/one", "set")
    asked = inner.find("{urn:xmpp:mam:2}query")
    assert asked is not None
    assert asked.get("queryid") == "f27"
    assert stamp(outer).get("stable") is None


@pytest.mark.requirement("355-35")
@pytest.mark.parametrize("kind", ["get", "set"])
@pytest.mark.parametrize("name", ["query", "prefs", "metadata"])
async def test_every_request_of_the_archive_is_forwarded(
    scene: Scene, kind: str, name: str
) -> None:
    answer = await scene.juliet.ask(kind, f"<{name} xmlns='urn:xmpp:mam:2'/>")
    assert answer.get("type") == "result"
    assert inner_iq(scene.query.envelopes[0]).get("type") == kind


async def test_stamps_are_positions_of_the_messages_sequence(scene: Scene) -> None:
    ingest = await scene.server.ingest()
    await scene.juliet.ask("set", PREFS)
    scene.juliet.say(ROMEO, "hi", "m1")
    await scene.juliet.ask("set", PREFS)
    first, second = (int(stamp(outer).get("position", "")) for outer in scene.query.envelopes)
    event = await ingest.arrival("hi", JULIET)
    assert first < event.position < second
    assert stamp(scene.query.envelopes[1]).get("stable") is None


@pytest.mark.requirement("355-07")
@pytest.mark.parametrize("to", [ROMEO, HOST, f"nobody@{HOST}"])
async def test_other_archives_are_not_asked(scene: Scene, to: str) -> None:
    answer = await scene.juliet.ask("set", QUERY_ALL, to)
    assert answer.get("type") == "error"
    assert not scene.query.envelopes


async def test_a_query_waits_for_the_owners_messages(start_server: StartServer) -> None:
    server = await start_server("stanzalake_freshness_timeout = 30")
    query, juliet = await server.query(), await server.client("juliet")
    romeo = await server.client("romeo")
    juliet.say(f"nobody@{HOST}", "hi", "m1")
    asked = juliet.send_iq("set", QUERY_ALL)
    # Romeo's archive has nothing on the way.
    await romeo.ask("set", QUERY_ALL)
    assert len(query.envelopes) == 1
    ingest = await server.ingest()
    await juliet.answer(asked)
    assert ingest.events
    assert stamp(query.envelopes[1]).get("stable") is None


async def test_a_query_does_not_wait_for_ever(start_server: StartServer) -> None:
    server = await start_server("stanzalake_freshness_timeout = 0.2")
    query, juliet = await server.query(), await server.client("juliet")
    juliet.say(ROMEO, "hi", "m1")
    await juliet.ask("set", QUERY_ALL)
    assert stamp(query.envelopes[0]).get("stable") == "false"


async def test_a_query_says_up_to_where_the_log_has_the_owners_messages(scene: Scene) -> None:
    ingest = await scene.server.ingest()
    romeo = await scene.server.client("romeo")
    await scene.juliet.ask("set", QUERY_ALL)
    steps = [(scene.juliet, "0:5 1:9"), (romeo, "0:7")]
    for client, ends in steps:
        ingest.ends = ends
        client.say(f"nobody@{HOST}", "hi", "m1")
        await client.ask("set", QUERY_ALL)
    await scene.juliet.ask("set", QUERY_ALL)
    said = [stamp(outer).get("ends") for outer in scene.query.envelopes]
    assert [said[0], *(set((text or "").split()) for text in said[1:])] == [
        None,
        {"0:5", "1:9"},
        {"0:7", "1:9"},
        {"0:5", "1:9"},
    ]


async def test_a_query_says_nothing_of_the_log_if_ingest_does_not(scene: Scene) -> None:
    ingest = await scene.server.ingest()
    ingest.answer = ingest.result
    scene.juliet.say(ROMEO, "hi", "m1")
    await ingest.arrival("hi", JULIET)
    await scene.juliet.ask("set", QUERY_ALL)
    assert "ends" not in stamp(scene.query.envelopes[0]).attrib


@pytest.mark.requirement("355-16")
async def test_without_query_the_archive_is_unavailable(server: Server) -> None:
    juliet = await server.client("juliet")
    assert condition(await juliet.ask("set", QUERY_ALL)) == UNAVAILABLE


async def test_no_answer_in_time_is_a_timeout(start_server: StartServer) -> None:
    server = await start_server("stanzalake_query_timeout = 0.3")
    query, juliet = await server.query(), await server.client("juliet")
    query.answer = lambda _: None
    asked = juliet.send_iq("set", QUERY_ALL)
    assert condition(await juliet.answer(asked)) == "wait/remote-server-timeout"
    query.send_raw(query.fin(query.envelopes[0]))
    query.answer = query.fin
    await juliet.ask("set", QUERY_ALL)
    assert len(juliet.found(lambda x: x.get("id") == asked)) == 1


@pytest.mark.requirement("355-17")
@pytest.mark.parametrize("error", ["item-not-found", "internal-server-error", "bad-request"])
async def test_an_outer_error_is_unavailable(scene: Scene, error: str) -> None:
    scene.query.answer = lambda iq: scene.query.error(iq, "cancel", error)
    assert condition(await scene.juliet.ask("set", QUERY_ALL)) == UNAVAILABLE


@pytest.mark.requirement("355-18")
async def test_an_inner_error_is_the_users(scene: Scene) -> None:
    error = (
        "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    )
    scene.query.answer = lambda iq: scene.query.reply(iq, error, type="error")
    assert condition(await scene.juliet.ask("set", QUERY_ALL)) == "cancel/item-not-found"


WRONG = [{"id": "other"}, {"to": ROMEO}, {"to": JULIET}, {"from": ROMEO}, {"type": "set"}]


@pytest.mark.requirement("355-15")
@pytest.mark.parametrize("changes", WRONG, ids=str)
async def test_a_reply_to_something_else_is_unavailable(
    scene: Scene, changes: dict[str, str]
) -> None:
    scene.query.answer = lambda iq: scene.query.reply(iq, "", **changes)
    assert condition(await scene.juliet.ask("set", QUERY_ALL)) == UNAVAILABLE


FORWARDED = (
    "<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>"
    "{}</forwarded></delegation>"
)
SHAPES = [
    "",
    "<delegation xmlns='urn:xmpp:delegation:2'/>",
    "<delegation xmlns='urn:other'/>",
    FORWARDED.format(""),
    FORWARDED.format("<iq xmlns='urn:other' type='result'/>"),
]


@pytest.mark.requirement("355-15")
@pytest.mark.parametrize("shape", range(len(SHAPES)))
async def test_a_reply_of_another_shape_is_unavailable(scene: Scene, shape: int) -> None:
    scene.query.answer = lambda iq: scene.query.result(iq, SHAPES[shape])
    assert condition(await scene.juliet.ask("set", QUERY_ALL)) == UNAVAILABLE


async def test_a_query_whose_component_goes_is_answered_at_once(scene: Scene) -> None:
    await scene.asked()
    await scene.query.stop()
    answer = await scene.juliet.expect(lambda x: x.get("type") == "error")
    assert condition(answer) == UNAVAILABLE


async def test_a_stranger_at_the_components_door_ends_no_query(scene: Scene) -> None:
    outer = await scene.asked()
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.query.address[1])
    writer.write(
        b"<stream:stream xmlns='jabber:component:accept' "
        b"xmlns:stream='http://etherx.jabber.org/streams' to='" + QUERY.encode() + b"'>"
        b"<handshake>wrong</handshake>"
    )
    async with asyncio.timeout(10):
        await reader.read()
    writer.close()
    scene.query.send_raw(scene.query.fin(outer))
    await scene.juliet.expect(lambda x: x.find(FIN) is not None)


async def test_an_answer_to_a_session_that_left_goes_nowhere(scene: Scene) -> None:
    outer = await scene.asked()
    await scene.juliet.leave()
    scene.query.send_result(HOST, JULIET, f"{JULIET}/one", "r1")
    scene.query.send_raw(scene.query.fin(outer))
    scene.query.answer = scene.query.fin
    again = await scene.server.client("juliet")
    await again.ask("set", QUERY_ALL)
    assert not again.found(lambda x: x.get("id") == "r1")


@pytest.mark.requirement("356-04", "356-09", "313-27", "313-86")
async def test_results_come_to_the_asking_session_alone_and_before_the_end(scene: Scene) -> None:
    ingest = await scene.server.ingest()
    two = await scene.server.client("juliet", "two")
    outer = await scene.asked()
    for number in range(50):
        scene.query.send_result(HOST, JULIET, f"{JULIET}/one", f"r{number}")
    scene.query.send_raw(scene.query.fin(outer))
    await scene.juliet.expect(lambda x: x.find(FIN) is not None)
    found = [
        x.get("id") if x.find(FIN) is None else "fin"
        for x in scene.juliet.received
        if x.find("{urn:xmpp:mam:2}result") is not None or x.find(FIN) is not None
    ]
    assert found == [*(f"r{number}" for number in range(50)), "fin"]
    result = await scene.juliet.message("r0")
    assert (result.get("from"), result.get("to")) == (JULIET, f"{JULIET}/one")
    old = result.find("*/{urn:xmpp:forward:0}forwarded/{jabber:client}message")
    assert old is not None
    assert old.findtext("{jabber:client}body") == "old"
    scene.juliet.say(ROMEO, "after", "m1")
    await ingest.arrival("after", ROMEO)
    assert len(ingest.events) == 2
    assert not [x for x in two.received if b"mam:2" in ET.tostring(x)]


async def test_results_survive_stream_management(scene: Scene) -> None:
    scene.juliet.send_raw("<enable xmlns='urn:xmpp:sm:3'/>")
    await scene.juliet.expect(lambda x: x.tag == "{urn:xmpp:sm:3}enabled")
    outer = await scene.asked()
    scene.query.send_result(HOST, JULIET, f"{JULIET}/one", "r1")
    scene.query.send_raw(scene.query.fin(outer))
    await scene.juliet.message("r1")


FORBIDDEN = {
    "another user": (ROMEO, f"{ROMEO}/one"),
    "another user's session": (JULIET, f"{ROMEO}/one"),
    "as another user": (ROMEO, f"{JULIET}/one"),
    "another session": (JULIET, f"{JULIET}/two"),
    "a bare JID": (JULIET, JULIET),
    "from a full JID": (f"{JULIET}/one", f"{JULIET}/one"),
    "from the host": (HOST, f"{JULIET}/one"),
}


@pytest.mark.requirement("356-05", "356-06")
@pytest.mark.parametrize("case", FORBIDDEN)
async def test_a_result_that_nobody_asked_for_is_forbidden(scene: Scene, case: str) -> None:
    romeo = await scene.server.client("romeo")
    two = await scene.server.client("juliet", "two")
    await scene.asked()
    sender, to = FORBIDDEN[case]
    scene.query.send_result(HOST, sender, to, "r1")
    await until(lambda: scene.query.refusals)
    assert b"forbidden" in ET.tostring(scene.query.refusals[0])
    for client in (scene.juliet, two, romeo):
        await client.ask("get", "<ping xmlns='urn:xmpp:ping'/>")
        assert not client.found(lambda x: x.get("id") == "r1")


async def test_another_component_cannot_answer(start_server: StartServer) -> None:
    other = "query-2.stanzalake"
    server = await start_server(query=[QUERY, other])
    one, two = await server.query(), await server.query(other)
    juliet = await server.client("juliet")
    one.answer = two.answer = lambda _: None
    asked = juliet.send_iq("set", QUERY_ALL)
    await until(lambda: one.envelopes or two.envelopes)
    right, wrong = (one, two) if one.envelopes else (two, one)
    wrong.send_result(HOST, JULIET, f"{JULIET}/one", "r1")
    await until(lambda: wrong.refusals)
    forged = right.fin(right.envelopes[0]).replace(str(right.boundjid), str(wrong.boundjid))
    wrong.send_raw(forged)
    wrong.send_result(HOST, JULIET, f"{JULIET}/one", "r2")
    await until(lambda: len(wrong.refusals) == 2)
    assert not juliet.found(lambda x: x.get("id") in (asked, "r1", "r2"))
    right.send_raw(right.fin(right.envelopes[0]))
    await juliet.answer(asked)


async def test_queries_take_turns_and_pass_by_who_is_away(start_server: StartServer) -> None:
    other = "query-2.stanzalake"
    server = await start_server(query=[QUERY, other])
    one, two = await server.query(), await server.query(other)
    juliet = await server.client("juliet")
    for _ in range(4):
        await juliet.ask("set", QUERY_ALL)
    assert len(one.envelopes) == len(two.envelopes) == 2
    await two.stop()
    for _ in range(2):
        assert (await juliet.ask("set", QUERY_ALL)).get("type") == "result"


@pytest.mark.requirement("356-21")
@pytest.mark.parametrize("kind", ["", " type='error'"])
async def test_a_user_cannot_speak_as_a_component(scene: Scene, kind: str) -> None:
    romeo = await scene.server.client("romeo")
    await scene.asked()
    spoof = privileged(QUERY, HOST, JULIET, f"{JULIET}/one", "r1").replace(
        " from", f"{kind} from", 1
    )
    romeo.send_raw(spoof)
    await romeo.ask("get", "<ping xmlns='urn:xmpp:ping'/>")
    refused = romeo.found(lambda x: x.get("id") == "outer-r1")
    assert [condition(x) for x in refused] == ([] if kind else ["auth/forbidden"])
    await scene.juliet.ask("get", "<ping xmlns='urn:xmpp:ping'/>")
    assert not scene.juliet.found(lambda x: x.get("id") == "r1")


@pytest.mark.requirement("313-126")
async def test_a_client_of_the_archive_gets_no_offline_messages(scene: Scene) -> None:
    romeo = await scene.server.client("romeo", available=False)
    scene.juliet.say(ROMEO, "missed", "m1")
    await scene.juliet.ask("get", "<ping xmlns='urn:xmpp:ping'/>")
    await romeo.ask("get", "<query xmlns='urn:xmpp:mam:2'/>")
    await romeo.ask("set", QUERY_ALL)
    romeo.send_raw("<presence/>")
    scene.juliet.say(f"{ROMEO}/one", "seen", "m2")
    await romeo.message("m2")
    assert not romeo.found(lambda x: x.get("id") == "m1")


async def test_a_session_has_so_many_queries_at_once(scene: Scene) -> None:
    scene.query.answer = lambda _: None
    for _ in range(256):
        scene.juliet.send_iq("set", QUERY_ALL)
    answer = await scene.juliet.ask("set", QUERY_ALL)
    assert condition(answer) == "wait/resource-constraint"
    await until(lambda: len(scene.query.envelopes) == 256)
    for outer in scene.query.envelopes:
        scene.query.send_raw(scene.query.fin(outer))
    await until(lambda: len(scene.juliet.found(lambda x: x.find(FIN) is not None)) == 256)
    scene.query.answer = scene.query.fin
    assert (await scene.juliet.ask("set", QUERY_ALL)).get("type") == "result"

"""How the tap forwards archive queries and brings back their answers, in a real Prosody."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

from devstack.debian import TRIXIE
from stanzalake.xmpp.frames import Frame
from stanzalake.xmpp.namespaces import MAM, QUERY
from tests.support.clients import RawClient, condition
from tests.support.components import FakeQuery, Forwarded, privileged, result
from tests.support.server import HOST, INGEST, JULIET, ROMEO, Server, StartServer
from tests.support.server import QUERY as COMPONENT
from tests.support.streams import manage, resume
from tests.support.wait import until

QUERY_ALL = "<query xmlns='urn:xmpp:mam:2' queryid='f27'/>"
PREFS = "<prefs xmlns='urn:xmpp:mam:2' default='roster'><always/><never/></prefs>"
FIN = "{urn:xmpp:mam:2}fin"
RESULT = "{urn:xmpp:mam:2}result"
UNAVAILABLE = "cancel/service-unavailable"
PING = "<ping xmlns='urn:xmpp:ping'/>"


class Scene(NamedTuple):
    """Juliet online, and query."""

    server: Server
    query: FakeQuery
    juliet: RawClient

    async def asked(self) -> Forwarded:
        """Have Juliet ask, and give the request, which is not answered."""
        before = len(self.query.requests)
        self.query.answer = lambda _: ""
        self.juliet.send_iq("set", QUERY_ALL)
        await until(lambda: len(self.query.requests) > before)
        return self.query.requests[before]


@pytest.fixture
async def scene(server: Server) -> AsyncIterator[Scene]:
    yield Scene(server, await server.query(), await server.client("juliet"))
    assert "raceback" not in server.log


def results(client: RawClient) -> list[str | None]:
    """Give the ids of the results that a client has received, and "fin" for each end."""
    found = client.found(lambda x: x.find(FIN) is not None or x.find(RESULT) is not None)
    return [x.get("id") if x.find(FIN) is None else "fin" for x in found]


async def received(client: RawClient, pages: int) -> None:
    """Wait until a client has so many pages."""
    await client.expect(lambda _: results(client).count("fin") == pages)


@pytest.mark.requirement("313-13")
@pytest.mark.parametrize("to", ["", JULIET])
async def test_a_query_goes_out_as_base64_text_and_its_answer_comes_back(
    scene: Scene, to: str
) -> None:
    answer = await scene.juliet.ask("set", QUERY_ALL, to)
    assert answer.get("type") == "result"
    assert answer.find(FIN) is not None
    (request,) = scene.query.requests
    outer = request.outer
    assert (outer.get("type"), outer.get("from"), outer.get("to")) == ("set", HOST, COMPONENT)
    assert (len(outer), len(outer[0])) == (1, 0)
    header = {"owner": JULIET, "asker": f"{JULIET}/one", "stable": True}
    assert {name: request.header[name] for name in header} == header
    assert (request.asked.get("from"), request.asked.get("type")) == (f"{JULIET}/one", "set")
    query = request.asked.find("{urn:xmpp:mam:2}query")
    assert query is not None
    assert query.get("queryid") == "f27"


@pytest.mark.parametrize("kind", ["get", "set"])
@pytest.mark.parametrize("name", ["query", "prefs", "metadata"])
async def test_every_request_of_the_archive_is_forwarded(
    scene: Scene, kind: str, name: str
) -> None:
    answer = await scene.juliet.ask(kind, f"<{name} xmlns='urn:xmpp:mam:2'/>")
    assert answer.get("type") == "result"
    assert scene.query.requests[0].asked.get("type") == kind


async def test_a_request_bears_a_bound_that_rises_with_each_event_of_its_owner(
    scene: Scene,
) -> None:
    ingest = await scene.server.ingest()
    await scene.juliet.ask("set", QUERY_ALL)
    scene.juliet.say(ROMEO, "hi", "m1")
    await scene.juliet.ask("set", QUERY_ALL)
    await scene.juliet.ask("set", QUERY_ALL)
    event = await ingest.arrival("hi", JULIET)
    first, *rest = [request.header["newest"] for request in scene.query.requests]
    assert first < event.position
    assert rest == [event.position, event.position]


async def test_positions_of_requests_are_of_the_messages_sequence(scene: Scene) -> None:
    ingest = await scene.server.ingest()
    await scene.juliet.ask("set", PREFS)
    scene.juliet.say(ROMEO, "hi", "m1")
    await scene.juliet.ask("set", PREFS)
    first, second = (request.position for request in scene.query.requests)
    event = await ingest.arrival("hi", JULIET)
    assert first < event.position < second
    assert scene.query.requests[1].header["stable"]


@pytest.mark.parametrize("to", [ROMEO, HOST, f"nobody@{HOST}"])
async def test_other_archives_are_not_asked(scene: Scene, to: str) -> None:
    answer = await scene.juliet.ask("set", QUERY_ALL, to)
    assert answer.get("type") == "error"
    assert not scene.query.requests


async def test_a_query_waits_for_the_owners_messages(start_server: StartServer) -> None:
    server = await start_server("stanzalake_freshness_timeout = 30")
    query, juliet = await server.query(), await server.client("juliet")
    romeo = await server.client("romeo")
    juliet.say(f"nobody@{HOST}", "hi", "m1")
    asked = juliet.send_iq("set", QUERY_ALL)
    # Romeo's archive has nothing on the way.
    await romeo.ask("set", QUERY_ALL)
    assert len(query.requests) == 1
    ingest = await server.ingest()
    await juliet.answer(asked)
    assert ingest.events
    assert query.requests[1].header["stable"]


async def test_a_query_does_not_wait_for_ever(start_server: StartServer) -> None:
    server = await start_server("stanzalake_freshness_timeout = 0.2")
    query, juliet = await server.query(), await server.client("juliet")
    juliet.say(ROMEO, "hi", "m1")
    await juliet.ask("set", QUERY_ALL)
    assert not query.requests[0].header["stable"]


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
    said = [request.header.get("watermarks") for request in scene.query.requests]
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
    assert "watermarks" not in scene.query.requests[0].header


async def test_without_query_the_archive_is_unavailable(server: Server) -> None:
    juliet = await server.client("juliet")
    assert condition(await juliet.ask("set", QUERY_ALL)) == UNAVAILABLE


async def test_no_answer_in_time_is_a_timeout(start_server: StartServer) -> None:
    server = await start_server("stanzalake_query_timeout = 0.3")
    query, juliet = await server.query(), await server.client("juliet")
    query.answer = lambda _: ""
    asked = juliet.send_iq("set", QUERY_ALL)
    assert condition(await juliet.answer(asked)) == "wait/remote-server-timeout"
    query.send_raw(query.fin(query.requests[0]))
    query.answer = query.fin
    await juliet.ask("set", QUERY_ALL)
    assert len(juliet.found(lambda x: x.get("id") == asked)) == 1


@pytest.mark.parametrize("error", ["item-not-found", "internal-server-error", "bad-request"])
async def test_an_outer_error_is_unavailable(scene: Scene, error: str) -> None:
    scene.query.answer = lambda request: scene.query.error(request.outer, "cancel", error)
    assert condition(await scene.juliet.ask("set", QUERY_ALL)) == UNAVAILABLE


async def test_an_inner_error_is_the_users(scene: Scene) -> None:
    error = (
        "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    )
    scene.query.answer = lambda request: scene.query.reply(request, error, type="error")
    assert condition(await scene.juliet.ask("set", QUERY_ALL)) == "cancel/item-not-found"


WRONG = [{"id": "other"}, {"to": ROMEO}, {"to": JULIET}, {"from": ROMEO}, {"type": "set"}]


@pytest.mark.parametrize("changes", WRONG, ids=str)
async def test_a_reply_to_something_else_is_unavailable(
    scene: Scene, changes: dict[str, str]
) -> None:
    scene.query.answer = lambda request: scene.query.reply(request, "", **changes)
    assert condition(await scene.juliet.ask("set", QUERY_ALL)) == UNAVAILABLE


def encoded(data: str) -> str:
    return base64.b64encode(data.encode()).decode()


HOSTILE = {
    "no base64": "***",
    "nothing": "",
    "no frame": encoded("hello"),
    "no head": encoded(" 0 3\nabc"),
    "a frame cut off": encoded("iq 0 99\n<iq/>"),
    "a length over all bounds": encoded(f"iq 0 {'9' * 40}\n<iq/>"),
    "a length of a gigabyte": encoded("iq 0 1073741824\n<iq/>"),
    "no iq": encoded("message 1 10\n<message/>"),
    "broken XML": encoded("iq 0 4\n<iq>"),
    "two stanzas": encoded("iq 0 10\n<iq/><iq/>"),
    "an end of the stream": encoded("iq 0 16\n</stream:stream>"),
    "a document type": encoded("iq 0 19\n<!DOCTYPE iq []>iq/"),
    "a state that is not JSON": encoded("state 1 1\n{iq 0 5\n<iq/>"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_an_answer_that_cannot_be_read_is_unavailable(scene: Scene, case: str) -> None:
    scene.query.answer = lambda request: scene.query.part(request, HOSTILE[case], 1, 1)
    assert condition(await scene.juliet.ask("set", QUERY_ALL)) == UNAVAILABLE
    scene.query.answer = lambda request: scene.query.page(request, "r1")
    await scene.juliet.ask("set", QUERY_ALL)
    assert results(scene.juliet) == ["r1", "fin"]


SHAPES = ["", "<answer xmlns='urn:other'/>", f"<answer xmlns='{QUERY}'/>", f"<x xmlns='{QUERY}'/>"]


@pytest.mark.parametrize("shape", range(len(SHAPES)))
async def test_a_reply_of_another_shape_is_unavailable(scene: Scene, shape: int) -> None:
    scene.query.answer = lambda request: scene.query.result(request.outer, SHAPES[shape])
    assert condition(await scene.juliet.ask("set", QUERY_ALL)) == UNAVAILABLE


async def test_an_answer_in_parts_is_put_together(scene: Scene) -> None:
    ids = [f"r{number}" for number in range(50)]

    def answer(request: Forwarded) -> str:
        messages = [Frame("message", result(request, id_).encode(), 1) for id_ in ids]
        iq = f"<iq type='result' id='{request.asked.get('id')}' to='{JULIET}/one'>"
        end = Frame("iq", f"{iq}<fin xmlns='{MAM}'/></iq>".encode())
        return scene.query.parts(request, [*messages, end], number=7)

    scene.query.answer = answer
    await scene.juliet.ask("set", QUERY_ALL)
    assert results(scene.juliet) == [*ids, "fin"]


READ_SIZE = "prosody.hosts['{}'].modules.component.session.conn.read_size"


async def test_the_stream_of_a_query_component_is_read_in_large_pieces(scene: Scene) -> None:
    """Prosody pauses between two reads of a connection, which was most of a page's time."""
    line = f"> {READ_SIZE.format(scene.query.boundjid.bare)}\n"
    _, shown = await scene.server.prosody.control("shell", typed=line)
    assert str(64 * 1024) in shown


@pytest.mark.parametrize("order", [(2, 1), (1, 1), (2,), (1, 3)], ids=str)
async def test_parts_out_of_order_are_no_answer(scene: Scene, order: Sequence[int]) -> None:
    scene.query.answer = lambda request: "".join(
        scene.query.part(request, encoded("iq 0 5\n<iq/>"), part, 3) for part in order
    )
    assert condition(await scene.juliet.ask("set", QUERY_ALL)) == UNAVAILABLE
    await scene.query.round_trip()
    assert not scene.query.strangers


@pytest.mark.parametrize("has_id", [True, False], ids=["parsed", "as text"])
async def test_a_stanza_that_prosody_does_not_take_costs_its_reader_that_stanza(
    scene: Scene, has_id: bool
) -> None:
    """An element name of XML's fifth edition, which expat refuses (B4).

    Messages that begin as the query component writes them, without an id, are sent as text.
    """

    def answer(request: Forwarded) -> str:
        page = [result(request, id_) for id_ in ("r1", "r2", "r3")]
        page[1] = page[1].replace("<body>", "<\u0370/><body>")
        if not has_id:
            page = [re.sub(" id='r.'>", ">", message, count=1) for message in page]
        return scene.query.reply(request, f"<fin xmlns='{MAM}'/>", page)

    scene.query.answer = answer
    await scene.juliet.ask("set", QUERY_ALL)
    found = [x.find(RESULT) for x in scene.juliet.received]
    assert [one.get("id") for one in found if one is not None] == ["r1", "r3"]
    assert f"A message of {JULIET} is left out of a page" in scene.server.log
    assert "(position 2)" in scene.server.log
    assert "old" not in scene.server.log


async def test_a_long_attribute_holds_up_no_page(start_server: StartServer) -> None:
    """B6: expat from 2.6 on, as on Debian 13, waits for the rest of a tag that came in pieces."""
    server = await start_server(root=TRIXIE)
    query, juliet = await server.query(), await server.client("juliet")
    romeo = await server.client("romeo")
    long = f"<body/><x xmlns='urn:x' a='{'b' * 12_000}'/>"
    query.answer = lambda request: query.reply(
        request, f"<fin xmlns='{MAM}'/>", [result(request, "r1").replace("<body>", f"{long}<body>")]
    )
    for client in (juliet, romeo):
        await client.ask("set", QUERY_ALL)
        assert results(client) == ["r1", "fin"]


async def test_a_query_whose_component_goes_is_answered_at_once(scene: Scene) -> None:
    await scene.asked()
    await scene.query.stop()
    answer = await scene.juliet.expect(lambda x: x.get("type") == "error")
    assert condition(answer) == UNAVAILABLE


async def test_a_stranger_at_the_components_door_ends_no_query(scene: Scene) -> None:
    request = await scene.asked()
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.query.address[1])
    writer.write(
        b"<stream:stream xmlns='jabber:component:accept' "
        b"xmlns:stream='http://etherx.jabber.org/streams' to='" + COMPONENT.encode() + b"'>"
        b"<handshake>wrong</handshake>"
    )
    async with asyncio.timeout(10):
        await reader.read()
    writer.close()
    scene.query.send_raw(scene.query.fin(request))
    await scene.juliet.expect(lambda x: x.find(FIN) is not None)


@pytest.mark.requirement("313-27", "313-86")
async def test_results_come_to_the_asking_session_alone_and_before_the_end(scene: Scene) -> None:
    ingest = await scene.server.ingest()
    two = await scene.server.client("juliet", "two")
    ids = [f"r{number}" for number in range(50)]
    scene.query.answer = lambda request: scene.query.page(request, *ids)
    await scene.juliet.ask("set", QUERY_ALL)
    assert results(scene.juliet) == [*ids, "fin"]
    message = await scene.juliet.message("r0")
    assert (message.get("from"), message.get("to")) == (JULIET, f"{JULIET}/one")
    old = message.find("*/{urn:xmpp:forward:0}forwarded/{jabber:client}message")
    assert old is not None
    assert old.findtext("{jabber:client}body") == "old"
    scene.juliet.say(ROMEO, "after", "m1")
    await ingest.arrival("after", ROMEO)
    assert len(ingest.events) == 2
    assert not [x for x in two.received if b"mam:2" in ET.tostring(x)]


async def test_an_answer_to_a_session_that_left_goes_to_no_later_one(scene: Scene) -> None:
    """A client that is cut off and comes back under the same resource asks anew (C1)."""
    lost = [await scene.asked() for _ in range(2)]
    await scene.juliet.offline()
    scene.query.answer = lambda _: ""
    again = await scene.server.client("juliet")
    asked = again.send_iq("set", QUERY_ALL)
    await until(lambda: len(scene.query.requests) == 2)
    for number, request in enumerate(lost):
        scene.query.send_raw(scene.query.page(request, f"lost{number}"))
    await until(lambda: len(scene.query.requests) == 3)
    scene.query.send_raw(scene.query.page(scene.query.requests[2], "r1", "r2"))
    await again.answer(asked)
    assert results(again) == ["r1", "r2", "fin"]


async def test_a_page_is_counted_and_comes_again_to_a_resumed_session(scene: Scene) -> None:
    stream = await manage(scene.juliet)
    ids = [f"r{number}" for number in range(50)]
    scene.query.answer = lambda request: scene.query.page(request, *ids)
    asked = scene.juliet.send_iq("set", QUERY_ALL)
    await scene.juliet.answer(asked)
    scene.juliet.abort()
    again = await resume(scene.juliet, scene.server.prosody.client_port, stream, f"id='{asked}'")
    assert came_again(again) == ids


async def test_filters_of_other_modules_apply_to_a_page(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "mod_sieve.lua").write_text(
        'local st = require "util.stanza";\n'
        'require "util.filters".add_filter_hook(function (session)\n'
        '\trequire "util.filters".add_filter(session, "stanzas/out", function (stanza)\n'
        '\t\tlocal result = stanza:get_child("result", "urn:xmpp:mam:2");\n'
        "\t\tlocal id = result and result.attr.id;\n"
        '\t\tif id == "r1" then return nil; end\n'
        '\t\tif id == "r2" then return stanza:tag("changed"):up(); end\n'
        '\t\tif id == "r3" then return st.clone(stanza):tag("replaced"):up(); end\n'
        "\t\treturn stanza;\n"
        "\tend);\n"
        "end);\n"
    )
    server = await start_server(modules=["stanzalake", "sieve"], module_dirs=[tmp_path])
    query, juliet = await server.query(), await server.client("juliet")
    query.answer = lambda request: query.page(request, "r1", "r2", "r3", "r4")
    await juliet.ask("set", QUERY_ALL)
    assert results(juliet) == ["r2", "r3", "r4", "fin"]
    messages = [await juliet.message(name) for name in ("r2", "r3", "r4")]
    names = [[child.tag.partition("}")[2] for child in message] for message in messages]
    assert names == [["result", "changed"], ["result", "replaced"], ["result"]]


async def test_a_result_that_a_filter_of_another_module_keeps_stays_as_it_was(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "mod_keeper.lua").write_text(
        "local kept = {};\n"
        'require "util.filters".add_filter_hook(function (session)\n'
        '\trequire "util.filters".add_filter(session, "stanzas/out", function (stanza)\n'
        '\t\tif stanza:get_child("result", "urn:xmpp:mam:2") then kept[#kept + 1] = stanza; end\n'
        '\t\tif stanza:get_child("fin", "urn:xmpp:mam:2") then\n'
        '\t\t\tfor _, one in ipairs(kept) do stanza:tag("kept", one.tags[1].attr):up(); end\n'
        "\t\tend\n"
        "\t\treturn stanza;\n"
        "\tend);\n"
        "end);\n"
    )
    server = await start_server(modules=["stanzalake", "keeper"], module_dirs=[tmp_path])
    query, juliet = await server.query(), await server.client("juliet")
    await manage(juliet)
    query.answer = lambda request: query.page(request, "r1", "r2")
    answer = await juliet.ask("set", QUERY_ALL)
    assert [child.get("id") for child in answer][1:] == ["r1", "r2"]


@pytest.fixture
async def drowsy(start_server: StartServer, tmp_path: Path) -> Scene:
    """Give a Prosody that tells when a session hibernates, with room for few stanzas meanwhile."""
    (tmp_path / "mod_sleep.lua").write_text(
        'module:hook("smacks-hibernation-start", function () module:log("info", "asleep"); end);\n'
        'module:hook("delivery/failure", function (event)\n'
        '\tmodule:log("info", "%s bounced", event.stanza.name);\n'
        "end, -1);\n"
        'module:hook("message/offline/handle", function () module:log("info", "kept"); end, 1);\n'
    )
    server = await start_server(
        modules=["stanzalake", "sleep"],
        module_dirs=[tmp_path],
        extra_global="smacks_max_queue_size = 30",
    )
    return Scene(server, await server.query(), await server.client("juliet"))


async def test_a_page_for_a_session_that_sleeps_comes_when_it_is_resumed(drowsy: Scene) -> None:
    scene, stream = drowsy, await manage(drowsy.juliet)
    request = await scene.asked()
    await sleep(scene)
    scene.query.send_raw(scene.query.page(request, "r1", "r2"))
    await scene.query.round_trip()
    end = f"id='{request.asked.get('id')}'"
    again = await resume(scene.juliet, scene.server.prosody.client_port, stream, end)
    assert came_again(again) == ["r1", "r2"]


async def test_a_page_that_was_not_acknowledged_comes_again_as_it_was(drowsy: Scene) -> None:
    scene, stream = drowsy, await manage(drowsy.juliet)
    request = await scene.asked()
    bodies = {"r1": "a &lt; b &amp; &apos;c&apos;", "r2": "x"}
    # Of a result, the query component gives the message no id.
    messages = [
        result(request, id_, f"{body}</body><active xmlns='urn:a'/><body xmlns='urn:b'>").replace(
            f" id='{id_}'", "", 1
        )
        for id_, body in bodies.items()
    ]
    fin = f"<fin xmlns='{MAM}'/>"
    scene.query.send_raw(scene.query.reply(request, fin, messages))
    await received(scene.juliet, 1)
    found = scene.juliet.found(lambda x: x.find(RESULT) is not None)
    live = [ET.tostring(child, "unicode") for message in found for child in message]
    await sleep(scene)
    end = f"id='{request.asked.get('id')}'"
    again = await resume(scene.juliet, scene.server.prosody.client_port, stream, end)
    texts = re.findall(r"<result .*?</result>", again)
    assert [*map(canonical, texts)] == [*map(canonical, live)]
    assert came_again(again) == list(bodies)
    assert again.count("<delay ") == 2  # of XEP-0198
    assert "raceback" not in scene.server.log


@pytest.mark.parametrize("others", [[], ["two"]])
async def test_a_page_that_a_lost_session_did_not_acknowledge_is_no_message_to_it(
    drowsy: Scene, others: Sequence[str]
) -> None:
    """It is neither kept with the offline messages, nor bounced; a room expels whom it bounces."""
    scene = drowsy
    for resource in others:
        await scene.server.client("juliet", resource)
    await manage(scene.juliet, resume="false")
    scene.query.answer = lambda request: scene.query.reply(
        request, f"<fin xmlns='{MAM}'/>", [result(request, "r1", "x").replace(" id='r1'", "", 1)]
    )
    await scene.juliet.ask("set", QUERY_ALL)
    scene.juliet.abort()
    await until(lambda: "Client disconnected" in scene.server.log)
    await scene.query.round_trip()
    assert not re.search("message bounced|kept", scene.server.log)


async def test_a_page_that_a_sleeping_sessions_queue_cannot_hold_leaves_the_queue_whole(
    drowsy: Scene,
) -> None:
    """An overflown queue could not be resumed, and what the session had missed would be gone."""
    scene, stream = drowsy, await manage(drowsy.juliet)
    romeo = await scene.server.client("romeo")
    request = await scene.asked()
    await sleep(scene)
    romeo.say(f"{JULIET}/one", "missed", "m1")
    await romeo.ask("get", PING)
    scene.query.send_raw(scene.query.page(request, *(f"r{n}" for n in range(50))))
    await scene.query.round_trip()
    end = f"id='{request.asked.get('id')}'"
    again = await resume(scene.juliet, scene.server.prosody.client_port, stream, end)
    assert "<resumed" in again
    assert "missed" in again
    assert came_again(again) == []


def canonical(text: str) -> str:
    """Give an element with prefixes of its own."""
    return ET.canonicalize(text, rewrite_prefixes=True)


def came_again(text: str) -> list[str]:
    """Give the ids of the results in a stream's text."""
    return re.findall(r"<result [^>]*id='(r\d+)'", text)


async def sleep(scene: Scene) -> None:
    """Cut Juliet's connection, and wait until Prosody has seen it."""
    scene.juliet.abort()
    await until(lambda: "asleep" in scene.server.log)


FORGED = {
    "to another user": {"to": f"{ROMEO}/one"},
    "to another session": {"to": f"{JULIET}/two"},
    "to a bare JID": {"to": JULIET},
    "from another user": {"from": ROMEO},
    "from a full JID": {"from": f"{JULIET}/one"},
    "from the host": {"from": HOST},
}


@pytest.mark.parametrize("case", FORGED)
async def test_a_page_reaches_only_the_session_that_asked(scene: Scene, case: str) -> None:
    romeo = await scene.server.client("romeo")
    two = await scene.server.client("juliet", "two")

    def answer(request: Forwarded) -> str:
        addresses = {"from": JULIET, "to": f"{JULIET}/one", **FORGED[case]}
        forged = ET.fromstring(result(request, "r1"))  # noqa: S314  # the test's own
        forged.attrib.update(addresses)
        return scene.query.reply(request, f"<fin xmlns='{MAM}'/>", [ET.tostring(forged, "unicode")])

    scene.query.answer = answer
    await scene.juliet.ask("set", QUERY_ALL)
    for client in (scene.juliet, two, romeo):
        await client.ask("get", PING)
        assert not client.found(lambda x: x.get("id") == "r1")


async def test_another_component_cannot_answer(start_server: StartServer) -> None:
    other = "query-2.stanzalake"
    server = await start_server(query=[COMPONENT, other])
    one, two = await server.query(), await server.query(other)
    juliet = await server.client("juliet")
    one.answer = two.answer = lambda _: ""
    asked = juliet.send_iq("set", QUERY_ALL)
    await until(lambda: one.requests or two.requests)
    right, wrong = (one, two) if one.requests else (two, one)
    forged = right.page(right.requests[0], "r1")
    wrong.send_raw(forged.replace(str(right.boundjid), str(wrong.boundjid)))
    wrong.send_raw(wrong.part(right.requests[0], encoded("iq 0 5\n<iq/>"), 1, 2))
    await juliet.ask("get", PING)
    await wrong.round_trip()
    assert not juliet.found(lambda x: x.get("id") in (asked, "r1"))
    right.send_raw(right.fin(right.requests[0]))
    await juliet.answer(asked)


async def test_queries_take_turns_and_pass_by_who_is_away(start_server: StartServer) -> None:
    other = "query-2.stanzalake"
    server = await start_server(query=[COMPONENT, other])
    one, two = await server.query(), await server.query(other)
    juliet = await server.client("juliet")
    for _ in range(4):
        await juliet.ask("set", QUERY_ALL)
    assert len(one.requests) == len(two.requests) == 2
    await two.stop()
    for _ in range(2):
        assert (await juliet.ask("set", QUERY_ALL)).get("type") == "result"


STRANGERS = {
    "iq": "<iq type='get' id='s1' to='{}'><x xmlns='a}}b'/></iq>",
    "iq of the protocol": f"<iq type='set' id='s1' to='{{}}'><request xmlns='{QUERY}'/></iq>",
    "message": "<message id='s1' to='{}'><x xmlns='a}}b'/></message>",
    "message of the protocol": f"<message id='s1' to='{{}}'><answer xmlns='{QUERY}'/></message>",
}
ADDRESSES = [COMPONENT, INGEST, f"w0x0@{INGEST}", f"w0x0@{COMPONENT}/r"]


@pytest.mark.parametrize("to", ADDRESSES)
async def test_stanzas_of_users_do_not_reach_the_components(scene: Scene, to: str) -> None:
    """B3 and E1: nothing of a user's is on a component's stream, in whatever namespace."""
    await scene.server.ingest()
    for shape in STRANGERS.values():
        scene.juliet.send_raw(shape.format(to))
    for kind in ("", "type='subscribe'", "type='probe'", "type='unavailable'"):
        scene.juliet.send_raw(f"<presence {kind} to='{to}'/>")
    await scene.juliet.ask("set", QUERY_ALL)
    refused = scene.juliet.found(lambda x: x.get("id") == "s1")
    assert [condition(x) for x in refused] == [UNAVAILABLE] * len(STRANGERS)
    assert not scene.query.strangers


async def test_a_user_cannot_speak_as_a_component(scene: Scene) -> None:
    romeo = await scene.server.client("romeo")
    request = await scene.asked()
    romeo.send_raw(privileged(COMPONENT, HOST, JULIET, f"{JULIET}/one", "r1"))
    romeo.send_raw(scene.query.page(request, "r1"))
    romeo.send_raw(scene.query.part(request, encoded("x"), 1, 2))
    await romeo.ask("get", PING)
    await scene.juliet.ask("get", PING)
    assert not scene.juliet.found(lambda x: x.get("id") == "r1")
    scene.query.send_raw(scene.query.page(request, "r2"))
    await scene.juliet.message("r2")


@pytest.mark.requirement("313-126")
@pytest.mark.slow
async def test_a_client_of_the_archive_gets_no_offline_messages(scene: Scene) -> None:
    romeo = await scene.server.client("romeo", available=False)
    scene.juliet.say(ROMEO, "missed", "m1")
    await scene.juliet.ask("get", PING)
    await romeo.ask("get", "<query xmlns='urn:xmpp:mam:2'/>")
    await romeo.ask("set", QUERY_ALL)
    romeo.send_raw("<presence/>")
    scene.juliet.say(f"{ROMEO}/one", "seen", "m2")
    await romeo.message("m2")
    assert not romeo.found(lambda x: x.get("id") == "m1")


UNSTABLE = "<fin xmlns='urn:xmpp:mam:2' stable='false'/>"
ERROR = (
    "<error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
)


@pytest.mark.parametrize("case", ["unstable", "error", "away"])
async def test_offline_messages_come_unless_a_stable_page_was_given(
    scene: Scene, case: str
) -> None:
    """A4: without its page, the client has no other way to them."""
    await scene.server.ingest()  # else the query waits until the message is with ingest
    romeo = await scene.server.client("romeo", available=False)
    if case == "unstable":
        scene.query.answer = lambda request: scene.query.reply(request, UNSTABLE)
    elif case == "error":
        scene.query.answer = lambda request: scene.query.reply(request, ERROR, type="error")
    else:
        await scene.query.stop()
    scene.juliet.say(ROMEO, "missed", "m1")
    await scene.juliet.ask("get", PING)
    await romeo.ask("set", QUERY_ALL)
    romeo.send_raw("<presence/>")
    await romeo.message("m1")


async def test_an_account_has_so_many_queries_at_once(scene: Scene) -> None:
    scene.query.answer = lambda _: ""
    two = await scene.server.client("juliet", "two")
    for client in (scene.juliet, two):
        for _ in range(257):
            client.send_iq("set", QUERY_ALL)
        await client.ask("get", PING)
    answer = await two.ask("set", QUERY_ALL)
    assert condition(answer) == "wait/resource-constraint"
    await until(lambda: len(scene.query.requests) == 2)
    scene.query.answer = scene.query.fin
    for request in scene.query.requests[:2]:
        scene.query.send_raw(scene.query.fin(request))
    for client in (scene.juliet, two):
        await received(client, 257)
    assert (await scene.juliet.ask("set", QUERY_ALL)).get("type") == "result"


async def test_one_accounts_flood_does_not_hold_up_another_account(scene: Scene) -> None:
    """E4: another's page waits for at most two pages of the flood."""
    scene.query.answer = lambda _: ""
    sessions = [await scene.server.client("juliet", f"flood{n}") for n in range(5)]
    for client in sessions:
        for _ in range(256):
            client.send_iq("set", QUERY_ALL)
    for client in sessions:
        await client.ask("get", PING)
    romeo = await scene.server.client("romeo")
    asked = romeo.send_iq("set", QUERY_ALL)
    await until(lambda: len(scene.query.requests) == 3)
    assert [r.header["owner"] for r in scene.query.requests] == [JULIET, JULIET, ROMEO]
    scene.query.send_raw(scene.query.fin(scene.query.requests[2]))
    assert (await romeo.answer(asked)).get("type") == "result"


def resident(pid: int) -> int:
    """Give a process's memory, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]  # it has it


async def test_queries_that_wait_are_bounded_in_bytes(scene: Scene) -> None:
    """E2: their text waits, not their trees, and not more than a few of the largest."""
    scene.query.answer = lambda _: ""
    pid = scene.server.prosody.pid
    before = resident(pid)
    payload = f"<query xmlns='{MAM}'>{'<a/>' * 30_000}</query>"
    asked = [scene.juliet.send_iq("set", payload) for _ in range(12)]
    await scene.juliet.answer(asked[-1], 60)
    refused = scene.juliet.found(lambda x: x.get("type") == "error")
    assert {condition(answer) for answer in refused} == {"wait/resource-constraint"}
    assert len(asked) - len(refused) == 2 + 4
    # 13 MiB; their trees take 79.
    assert resident(pid) - before < 40


async def test_a_query_of_too_many_bytes_is_refused(scene: Scene) -> None:
    payload = f"<query xmlns='{MAM}'>{'<a/>' * 35_000}</query>"
    assert condition(await scene.juliet.ask("set", payload)) == "modify/policy-violation"
    assert not scene.query.requests

"""The connection of a component to a real Prosody, and to a host that breaks the rules."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from devstack.debian import TRIXIE
from stanzalake.xmpp import component as component_module
from stanzalake.xmpp.component import Component
from tests.support.server import HOST, INGEST, JULIET, QUERY, ROMEO, Server, StartServer
from tests.support.wait import until

QUERY_ALL = "<query xmlns='urn:xmpp:mam:2'/>"
RELOADER = f"""
local modulemanager = require "core.modulemanager";
module:hook("message/host", function ()
    modulemanager.reload("{QUERY}", "component");
    modulemanager.reload("{INGEST}", "component");
    return true;
end, 10);
"""


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have connections be looked after more often than in real life."""
    monkeypatch.setattr(component_module, "PING_INTERVAL", 0.1)


@pytest.mark.usefixtures("prompt")
async def test_a_connection_that_prosody_has_forgotten_is_made_anew(
    start_server: StartServer, tmp_path: Path
) -> None:
    """C3: the TCP stream stays, and a ping to the host would be answered on it."""
    (tmp_path / "mod_reloader.lua").write_text(RELOADER)
    server = await start_server(modules=["stanzalake", "reloader"], module_dirs=[tmp_path])
    ingest, query = await server.ingest(), await server.query()
    juliet = await server.client("juliet")
    assert (await juliet.ask("set", QUERY_ALL)).get("type") == "result"
    juliet.send_raw(f"<message to='{HOST}'/>")
    await until(lambda: server.log.count("successfully authenticated") == 4)
    juliet.say(ROMEO, "hi", "m1")
    await ingest.arrival("hi", JULIET)
    assert (await juliet.ask("set", QUERY_ALL)).get("type") == "result"
    assert len(query.requests) == 2


@pytest.mark.usefixtures("prompt")
async def test_a_connection_that_works_is_kept(server: Server) -> None:
    query = await server.query()
    await until(lambda: query.pings >= 3)
    assert server.log.count("successfully authenticated") == 1
    assert not query.strangers


async def test_presences_of_ever_new_addresses_are_not_remembered(
    start_server: StartServer,
) -> None:
    """E1, as far as the module cannot stop them: a gateway on the same server sends them."""
    gateway = "gateway.example"
    server = await start_server(modules=[], ingest=[INGEST, gateway])
    ingest, other = await server.ingest(), await server.ingest(gateway)
    before = set(ingest.roster.keys())
    for number in range(500):
        addresses = f"from='u{number}@{gateway}' to='w{number}@{INGEST}'"
        for kind in ("", "type='subscribe'", "type='probe'", "type='unavailable'"):
            other.send_raw(f"<presence {kind} {addresses}/>")
    other.send_raw(f"<iq type='get' id='last' from='{gateway}' to='{INGEST}'><x xmlns='y'/></iq>")
    await until(lambda: other.replies)
    assert set(ingest.roster.keys()) == before


class Recorder(asyncio.Transport):
    """Keeps the bytes that are written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data


def bytes_of(component: Component, stanza: str) -> bytes:
    """Give the bytes that a component sends for a stanza."""
    transport, component.transport = component.transport, Recorder()
    component.send_raw(stanza)
    data = component.transport.data
    component.transport = transport
    return data


@pytest.mark.parametrize("root", [None, TRIXIE], ids=["own", "debian13"])
@pytest.mark.parametrize(
    "cut", ["<iq type='result'", f"to='{HOST}'", "<batch xmlns='urn:s", "ends='0:1'", "/></i"]
)
async def test_an_answer_that_the_network_cuts_within_a_tag_is_not_held_back(
    start_server: StartServer, root: Path | None, cut: str
) -> None:
    """B6: expat from 2.6 on, as on Debian 13, waits for twice as much of an incomplete tag."""
    server = await start_server("stanzalake_freshness_timeout = 60", root=root)
    ingest, _ = await server.ingest(), await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    batches: list[ET.Element] = []
    ingest.answer = batches.append
    juliet.say(f"nobody@{HOST}", "hi", "m1")
    await until(lambda: batches)
    data = bytes_of(ingest, ingest.taken(batches[0]))
    at = data.index(cut.encode()) + len(cut)
    assert ingest.transport is not None
    ingest.transport.write(data[:at])
    # Prosody has read the first piece by then.
    await romeo.ask("get", "<ping xmlns='urn:xmpp:ping'/>")
    ingest.transport.write(data[at:])
    # The page waits until the message is with ingest.
    assert (await juliet.ask("set", QUERY_ALL)).get("type") == "result"


async def test_what_the_module_sends_is_pushed_through_a_components_expat(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B6: this Python's expat may wait for twice as much, and then has no way to be told."""
    ingest, juliet = await server.ingest(), await server.client("juliet")
    raw, take = bytearray(), ingest.data_received

    def record(data: bytes) -> None:
        raw.extend(data)
        take(data)

    monkeypatch.setattr(ingest, "data_received", record)
    juliet.say(ROMEO, "hi", "m1")
    await ingest.arrival("hi", ROMEO)
    await until(lambda: raw.endswith(b"</iq>" + b" " * 512))


def test_pieces_of_a_stream_are_parsed_at_once_where_python_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """B6: of Python's versions with such an expat, newer ones can tell it."""
    pieces = 0

    def flush(_: object) -> None:
        nonlocal pieces
        pieces += 1
        if pieces > 2:
            raise ET.ParseError

    monkeypatch.setattr(ET.XMLPullParser, "flush", flush, raising=False)
    parser = component_module._Parser(("start",))  # noqa: SLF001  # what a connection parses with
    for piece in (b"<a ", b"b='c'>"):
        parser.feed(piece)
    assert (pieces, parser.broken) == (2, False)
    parser.feed(b"<")
    assert parser.broken


@asynccontextmanager
async def hosted(stanzas: bytes) -> AsyncIterator[tuple[Component, list[int]]]:
    """Run a component at a host that sends these bytes behind the handshake; count connections."""
    connections: list[int] = []

    async def host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        writer.write(
            b"<stream:stream xmlns='jabber:component:accept' id='1' "
            b"xmlns:stream='http://etherx.jabber.org/streams' from='query.stanzalake'>"
        )
        await reader.readuntil(b"</handshake>")
        writer.write(b"<handshake/>" + stanzas)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(host, "127.0.0.1", 0) as server:
        component = Component(QUERY, "secret", server.sockets[0].getsockname())
        stop = asyncio.Event()
        running = asyncio.create_task(component.run(stop))
        yield component, connections
        stop.set()
        await running


@pytest.mark.parametrize("stanzas", [b"<message><x xmlns='a}b'/></message>", b"<a></b>", b"<a b>"])
async def test_a_stream_that_is_broken_is_given_up_and_made_anew(
    stanzas: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosted(stanzas) as (_, connections):
        await until(lambda: len(connections) >= 2)
    assert "disconnected (the stream is not well-formed)" in caplog.text


@pytest.mark.usefixtures("prompt")
async def test_a_host_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component_module, "PING_TIMEOUT", 0.1)
    async with hosted(b"") as (_, connections):
        await until(lambda: len(connections) >= 2)


@asynccontextmanager
async def silent() -> AsyncIterator[socket.socket]:
    """Take connections as the system does for a process that is frozen, and answer nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@asynccontextmanager
async def unreachable() -> AsyncIterator[socket.socket]:
    """Take no connections: the system drops them, as a firewall or a machine that is off does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as filling:
        for _ in range(2):
            one = filling.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener


@pytest.mark.parametrize(
    ("host", "trouble"),
    [(silent, "disconnected (no answer to the handshake)"), (unreachable, "(no answer)")],
)
async def test_a_prosody_that_does_not_answer_the_handshake_is_tried_again(
    host: Any, trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A frozen process, or a machine that vanished before it answered, sends no word of its own."""
    monkeypatch.setattr(component_module, "HANDSHAKE_TIMEOUT", 0.1)
    async with host() as listener:
        component = Component(QUERY, "secret", listener.getsockname())
        attempts: list[object] = []
        component.add_event_handler("connecting", attempts.append)
        stop = asyncio.Event()
        running = asyncio.create_task(component.run(stop))
        await until(lambda: len(attempts) >= 3)
        stop.set()
        async with asyncio.timeout(5):
            await running
    [warning] = warnings(caplog)
    assert f"{trouble}; trying again" in warning.getMessage()


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno == logging.WARNING]

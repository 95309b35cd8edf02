"""Askers who take more than their share: other servers, and those who do not read their pages."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from devstack.raw import RawSession
from stanzalake.xmpp.frames import Frame
from tests.support.clients import RawClient
from tests.support.components import FIN, Fake, FakeQuery, Forwarded, result
from tests.support.processes import Run
from tests.support.queries import query
from tests.support.rooms import component, join
from tests.support.server import HOST, KEY, PASSWORD, Server
from tests.support.wait import until

CROWD = 600
"""Accounts of another server that ask at once."""
SHARE = 32
"""Requests of another server at work, MAX_AT_WORK_GROUP in turns.lib.lua."""
PAGES = 10
"""Pages that somebody asks for who does not read."""
MESSAGES, MESSAGE = 20, 400_000
"""Messages of a page and their bytes: more than the buffers of the kernel take."""
PART = 64_000
"""Bytes of a part of an answer."""
UNREAD = 6
"""Pages at most that are fetched for somebody who reads none: two at a time, until one is left."""


class World(NamedTuple):
    """A server with a room that Juliet is in, and another server with many accounts."""

    there: Server
    query: FakeQuery
    juliet: RawClient
    crowd: Fake
    room: str

    def ask(self, *accounts: str) -> None:
        """Have accounts of the other server ask the room's archive at once."""
        domain = self.crowd.boundjid.bare
        for number, account in enumerate(accounts):
            addresses = f"from='{account}@{domain}/r' to='{self.room}'"
            self.crowd.send_raw(f"<iq type='set' id='q{number}' {addresses}>{query()}</iq>")

    def forwarded(self) -> list[Forwarded]:
        """Give the requests of the other server that were forwarded."""
        return [
            one for one in self.query.requests if self.crowd.boundjid.bare in one.header["asker"]
        ]

    def own(self) -> list[Forwarded]:
        """Give Juliet's requests that were forwarded."""
        return [one for one in self.query.requests if "juliet" in one.header["asker"]]


def address() -> str:
    """Give an address of loopback that is hardly anybody else's."""
    return ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])


@pytest.fixture
async def world(run: Run, tmp_path: Path) -> AsyncIterator[World]:
    host, rooms, crowd = address(), address(), address()
    section = component(f'stanzalake_id_keys = "{KEY}"\n', host=rooms)
    archived = {"host": host, "federates": True, "components": [rooms]}
    here = await run(Server(tmp_path / "here", section, **archived))
    gateway = f'Component "{crowd}"\ncomponent_secret = "{PASSWORD}"\n'
    abroad = {"host": address(), "federates": True, "components": [crowd], "modules": ["ping"]}
    there = await run(Server(tmp_path / "there", gateway, **abroad))
    asked, room = await here.query(), f"hall@{rooms}"
    juliet = RawClient(f"juliet@{host}/one", PASSWORD, here.prosody.client_port)
    await juliet.online()
    await join(juliet, "Juliet", room)
    yield World(there, asked, juliet, await there.component(crowd, PASSWORD), room)
    await juliet.offline()
    assert "raceback" not in here.log


def empty_page(server: FakeQuery, request: Forwarded) -> str:
    """Give the answer of an empty page, with the address that another server needs."""
    return server.reply(request, FIN, **{"from": request.header["owner"]})


def large_page(server: FakeQuery, request: Forwarded) -> str:
    """Give the answer of a page that takes long to read."""
    messages = [result(request, f"r{n}", "x" * MESSAGE).encode() for n in range(MESSAGES)]
    asker, id_ = request.header["asker"], request.header["id"]
    owner = request.header["owner"]
    end = f"<iq type='result' id='{id_}' from='{owner}' to='{asker}'>{FIN}</iq>".encode()
    content = [*(Frame("message", message, 1) for message in messages), Frame("iq", end)]
    return server.parts(request, content, number=MESSAGES * MESSAGE // PART)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Keep a process from doing anything in the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_another_server_has_one_share_whatever_accounts_it_makes(world: World) -> None:
    world.query.answer = lambda _: ""
    world.ask(*(f"a{n}" for n in range(CROWD)))
    await until(lambda: len(world.forwarded()) >= SHARE)
    asked = world.juliet.send_iq("set", query(), to=world.room)
    await until(world.own)
    [request] = world.own()
    world.query.send_raw(world.query.fin(request))
    assert (await world.juliet.answer(asked)).get("type") == "result"
    assert len(world.forwarded()) == SHARE
    servers = {one.header.get("server") for one in world.forwarded()}
    assert (servers, request.header.get("server")) == ({world.crowd.boundjid.bare}, None)
    world.query.answer = lambda request: empty_page(world.query, request)
    for one in world.forwarded():
        world.query.send_raw(empty_page(world.query, one))
    await until(lambda: len(world.crowd.replies) == CROWD)


async def test_pages_wait_for_a_server_that_does_not_read(world: World) -> None:
    world.query.answer = lambda _: ""
    world.ask(*["one"] * PAGES)
    await until(lambda: len(world.forwarded()) == 2)
    first = world.forwarded()
    with frozen(world.there.prosody.pid):
        world.query.answer = lambda request: (
            large_page(world.query, request)
            if "server" in request.header
            else world.query.fin(request)
        )
        for request in first:
            world.query.send_raw(large_page(world.query, request))
        # More pages would be fetched between these.
        for _ in range(50):
            await world.juliet.ask("set", query(), to=world.room)
        assert len(world.forwarded()) <= UNREAD
        world.query.answer = lambda request: empty_page(world.query, request)
    await until(lambda: len(world.crowd.replies) == PAGES, 60)
    assert {reply.get("type") for reply in world.crowd.replies} == {"result"}


async def test_pages_wait_for_a_client_that_does_not_read(server: Server) -> None:
    asked = await server.query()
    romeo = await server.client("romeo")
    asked.answer = lambda request: (
        large_page(asked, request) if "juliet" in request.header["owner"] else asked.fin(request)
    )
    juliet = RawSession("juliet", PASSWORD, HOST, server.prosody.client_port)
    await juliet.open()
    juliet.write("".join(f"<iq type='set' id='q{n}'>{query()}</iq>" for n in range(PAGES)))
    await until(lambda: len(asked.requests) >= 2)
    for _ in range(50):
        await romeo.ask("set", query())
    assert len([one for one in asked.requests if "juliet" in one.header["owner"]]) <= UNREAD
    asked.answer = asked.fin
    ends, rest = 0, b""
    async with asyncio.timeout(60):
        while ends < PAGES:
            received = rest + await juliet.reader.read(1 << 16)
            ends, rest = ends + received.count(b"<fin "), received[-4:]
    await juliet.close()

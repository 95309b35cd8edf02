"""Bind 2 (XEP-0386) on Prosody 13: a login tells what the archive holds."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from devstack.debian import TRIXIE
from devstack.raw import RawSession
from stanzalake.xmpp.namespaces import MAM
from tests.support.bind2 import BIND2, BOUND, METADATA, ids_in, login, success_of
from tests.support.components import FakeIngest, FakeQuery
from tests.support.server import HOST, JULIET, PASSWORD, Server, StartServer
from tests.support.wait import until

MODULES = ("stanzalake", "offline", "sasl2", "sasl2_bind2", "sasl2_sm")


class Scene(NamedTuple):
    """Prosody 13 with the modules for SASL 2, ingest and query."""

    server: Server
    ingest: FakeIngest
    query: FakeQuery


@pytest.fixture
async def scene(start_server: StartServer) -> AsyncIterator[Scene]:
    server = await start_server(root=TRIXIE, modules=MODULES)
    yield Scene(server, await server.ingest(), await server.query())
    assert "raceback" not in server.log


def metadata(last: str) -> str:
    """Give the metadata of an archive, up to a message."""
    return (
        f"<metadata xmlns='{MAM}'><start id='first' timestamp='2026-01-01T00:00:00Z'/>"
        f"<end id='{last}' timestamp='2026-01-02T00:00:00Z'/></metadata>"
    )


async def connect(scene: Scene) -> tuple[RawSession, str]:
    """Give a session of Juliet's that asks for a login with a resource, and the features."""
    return await login("juliet", PASSWORD, HOST, scene.server.prosody.client_port)


@pytest.mark.requirement("386-01", "386-02", "386-03")
async def test_a_login_tells_what_the_archive_holds_and_brings_nothing_twice(scene: Scene) -> None:
    romeo, juliet = [await scene.server.client(name) for name in ("romeo", "juliet")]
    await juliet.offline()
    romeo.say(JULIET, "archived", "m1")
    await scene.ingest.arrival("archived", JULIET)
    romeo.send_raw(
        f"<message to='{JULIET}' id='m2' type='chat'><body>not</body>"
        "<no-permanent-store xmlns='urn:xmpp:hints'/></message>"
    )
    scene.query.answer = lambda request: scene.query.reply(request, metadata("m1"))
    session, features = await connect(scene)
    assert f"<feature var='{MAM}'/>" in features.partition(BIND2)[2]
    assert ids_in(await success_of(session)) == ["first", "m1"]
    [request] = scene.query.requests
    assert request.header["owner"] == JULIET
    session.write("<presence/><iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
    received = (await session.reader.readuntil(b"id='p'")).decode()
    assert ">not<" in received
    assert ">archived<" not in received
    await session.close()


async def test_a_message_during_the_login_is_in_the_metadata(scene: Scene) -> None:
    romeo = await scene.server.client("romeo")
    scene.query.answer = lambda _: ""
    session, _ = await connect(scene)
    await until(lambda: len(scene.query.requests) == 1)
    romeo.say(JULIET, "meanwhile", "m2")
    await scene.ingest.arrival("meanwhile", JULIET)
    scene.query.answer = lambda request: scene.query.reply(request, metadata("m2"))
    scene.query.send_raw(scene.query.reply(scene.query.requests[0], metadata("m1")))
    assert ids_in(await success_of(session)) == ["first", "m2"]
    await session.close()


async def test_a_login_goes_on_without_an_archive(scene: Scene) -> None:
    answers = (lambda asked: scene.query.error(asked.outer, "wait", "timeout"), lambda _: "")
    for answer in answers:
        scene.query.answer = answer
        session, _ = await connect(scene)
        success = await success_of(session)
        assert success.find(BOUND) is not None
        assert success.find(METADATA) is None
        await session.close()
    # A client that leaves meanwhile is no trouble.
    session, _ = await connect(scene)
    await until(lambda: len(scene.query.requests) == 3)
    await session.close()
    await scene.query.stop()
    session, _ = await connect(scene)
    assert (await success_of(session)).find(BOUND) is not None
    await session.close()

"""Two servers that federate: both archive their sides of a chat, and no archive's id leaves."""

import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio

from devstack.deployment import Deployment
from tests.support.clients import CLIENT, RawClient, condition, stanza_ids
from tests.support.deployments import entries, running
from tests.support.queries import query
from tests.support.rooms import affiliate, bodies, component, join, room_entries, talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = itertools.count(1)


class Servers(NamedTuple):
    """Juliet's server with the host of its rooms, and Romeo's."""

    hers: Deployment
    rooms: str
    his: Deployment


class World(NamedTuple):
    """Juliet and a room on one server, Romeo on another; no other test has them."""

    juliet: RawClient
    romeo: RawClient
    room: str

    @property
    def jids(self) -> tuple[str, str]:
        """Their bare JIDs."""
        return self.juliet.boundjid.bare, self.romeo.boundjid.bare


def address() -> str:
    """Give an address of loopback that is hardly anybody else's."""
    return ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])


def federated(directory: Path, host: str, *others: str) -> Deployment:
    """Give a deployment that other servers can reach; it is not started."""
    settings = {"PROSODY_ARCHIVE_POLICY": "true", "STANZALAKE_HOSTS": ",".join([host, *others])}
    return Deployment(directory, settings=settings, host=host, federates=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    directory, rooms = tmp_path_factory.mktemp("federation"), address()
    hers = federated(directory / "hers", address(), rooms)
    serve_rooms(hers, rooms)
    his = federated(directory / "his", address())
    async with running(hers), running(his):
        yield Servers(hers, rooms, his)


@pytest_asyncio.fixture(loop_scope="module")
async def world(servers: Servers) -> AsyncIterator[World]:
    number = next(_numbers)
    async with AsyncExitStack() as stack:
        juliet = await online(stack, servers.hers, f"juliet{number}")
        romeo = await online(stack, servers.his, f"romeo{number}")
        yield World(juliet, romeo, f"hall{number}@{servers.rooms}")


async def online(stack: AsyncExitStack, deployment: Deployment, user: str) -> RawClient:
    """Give a session of a new account."""
    await deployment.register(user)
    client = RawClient(
        f"{user}@{deployment.host}/one", deployment.passwords[user], deployment.client_port
    )
    stack.push_async_callback(client.offline)
    await client.online()
    await deployment.wait_known(user)
    return client


def serve_rooms(deployment: Deployment, rooms: str) -> None:
    """Give a deployment a MUC component that other servers can reach."""
    key = deployment.settings["STANZALAKE_ID_KEYS"]
    deployment.prosody.components = [rooms]
    deployment.prosody.extra_host = component(f'stanzalake_id_keys = "{key}"\n', host=rooms)


async def test_a_chat_across_servers_is_in_both_archives(world: World) -> None:
    juliet, romeo = world.jids
    world.juliet.say(romeo, "from here", "m1")
    heard = await world.romeo.message("m1")
    world.romeo.say(juliet, "from there", "m2")
    answered = await world.juliet.message("m2")
    expected = [(f"{juliet}/one", "from here"), (f"{romeo}/one", "from there")]
    for reader in world[:2]:
        kept = await entries(reader)
        found = [(e.message.get("from"), e.message.findtext(f"{CLIENT}body")) for e in kept]
        assert found == expected
    ids = {reader: [entry.id for entry in await entries(reader)] for reader in world[:2]}
    assert stanza_ids(heard) == [(romeo, ids[world.romeo][0])]
    assert stanza_ids(answered) == [(juliet, ids[world.juliet][1])]


@pytest.mark.requirement("313-19", "359-06")
async def test_no_id_of_the_senders_archive_leaves_for_another_server(world: World) -> None:
    juliet, romeo = world.jids
    forged = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{juliet}' id='mine'/>"
    body, unarchived = "<body>hi</body>", "<x xmlns='urn:not-archived'/>"
    # Nobody takes a message to the host, so its error brings back everything that arrived there.
    sent = {romeo: body, f"{romeo}/one": unarchived, romeo.partition("@")[2]: body}
    for number, (to, content) in enumerate(sent.items()):
        world.juliet.send_raw(
            f"<message to='{to}' type='chat' id='m{number}'>{forged}{content}{forged}</message>"
        )
    for number, receiver in enumerate((world.romeo, world.romeo, world.juliet)):
        arrived = await receiver.message(f"m{number}")
        assert juliet not in [by for by, _ in stanza_ids(arrived) if receiver is world.romeo]
        assert "mine" not in ET.tostring(arrived, "unicode")
    kept = [entry.message for entry in await entries(world.juliet)]
    assert [message.get("to") for message in kept if message.get("type") == "chat"] == [
        romeo, romeo.partition("@")[2]
    ]  # fmt: skip


async def test_a_room_is_read_from_another_server_unless_it_forbids(world: World) -> None:
    juliet, romeo, room = world
    await join(juliet, "Juliet", room)
    await join(romeo, "Romeo", room)
    said = [await talk(juliet, "here", "m1", room), await talk(romeo, "there", "m2", room)]
    found = await room_entries(romeo, room=room)
    assert [(entry.id, body) for entry, body in zip(found, bodies(found), strict=True)] == list(
        zip(said, ["here", "there"], strict=True)
    )
    assert {entry.message.get("to") for entry in found} == {None}
    await affiliate(juliet, romeo.boundjid.bare, "outcast", room)
    assert condition(await romeo.ask("set", query(), to=room)) == "auth/forbidden"

"""A deployment for the tests of a module, and its users' archives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from devstack.deployment import HOST, Deployment
from tests.support.clients import CLIENT, RawClient
from tests.support.queries import page, query

JULIET = f"juliet@{HOST}"
ROMEO = f"romeo@{HOST}"

_RESULT = "{urn:xmpp:mam:2}result"
_FORWARDED = "{urn:xmpp:forward:0}forwarded"
_LAST = page("<max>250</max><before/>")


class Entry(NamedTuple):
    """A result as its owner reads it.

    Attributes:
        id: The archive's id.
        stamp: When it was archived, as written.
        message: The message inside.
    """

    id: str
    stamp: str
    message: ET.Element


@asynccontextmanager
async def running(deployment: Deployment) -> AsyncIterator[Deployment]:
    """Run a deployment, and stop it however the block ends."""
    try:
        await deployment.start()
        yield deployment
    finally:
        await deployment.stop()


@asynccontextmanager
async def deployed(directory: Path, **settings: str) -> AsyncIterator[Deployment]:
    """Run a deployment that archives for everybody, unless the settings say otherwise."""
    wanted = {"PROSODY_ARCHIVE_POLICY": "true", **settings}
    async with running(Deployment(directory, settings=wanted)) as deployment:
        yield deployment


async def session(deployment: Deployment, user: str, resource: str = "one") -> RawClient:
    """Give a session of an account, available and with carbons."""
    jid = f"{user}@{HOST}/{resource}"
    client = RawClient(jid, deployment.passwords[user], deployment.client_port)
    await client.online()
    await deployment.wait_known(user)
    return client


async def entries(client: RawClient, *content: str, to: str = "") -> list[Entry]:
    """Give the last 250 entries of an archive, a client's own or a room's, oldest first."""
    before = len(client.received)
    answer = await client.ask("set", query(*content, _LAST), to)
    assert answer.get("type") == "result", ET.tostring(answer)
    messages = client.received[before : client.received.index(answer)]
    results = [message.find(_RESULT) for message in messages]
    return [_entry(result) for result in results if result is not None]


def _entry(result: ET.Element) -> Entry:
    forwarded = result.find(_FORWARDED)
    assert forwarded is not None
    delay, message = forwarded
    assert message.tag == f"{CLIENT}message"
    return Entry(result.get("id", ""), delay.get("stamp", ""), message)

"""A Prosody with mod_mam, which an operator moves away from."""

import json
from typing import NamedTuple
from xml.etree import ElementTree as ET

from tests.support.clients import CLIENT, RawClient
from tests.support.command import Command
from tests.support.queries import page, query
from tests.support.server import JULIET, ROMEO, Server

_RESULT = "{urn:xmpp:mam:2}result"
_MESSAGE = f"{{urn:xmpp:forward:0}}forwarded/{CLIENT}message"


class Old(NamedTuple):
    """A Prosody with mod_mam, and the URL of its database."""

    server: Server
    url: str


async def talk(old: Old, first: int, last: int) -> list[tuple[str, str]]:
    """Have Romeo say numbers to Juliet; give the ids and texts that her archive then holds."""
    romeo, juliet = await old.server.client("romeo"), await old.server.client("juliet")
    for number in range(first, last):
        romeo.say(JULIET, f"{number} \U0001f382 &lt;", f"m{number}", "<x xmlns='urn:x' a='1'/>")
        await juliet.message(f"m{number}")
    held = await archive(juliet)
    await romeo.offline()
    await juliet.offline()
    return held


async def archive(client: RawClient) -> list[tuple[str, str]]:
    before = len(client.received)
    await client.ask("set", query(page("<max>50</max>")))
    found = [stanza.find(_RESULT) for stanza in client.received[before:]]
    return [(x.get("id", ""), text(x)) for x in found if x is not None]


def text(result: ET.Element) -> str:
    return result.findtext(f"{_MESSAGE}/{CLIENT}body") or ""


async def imported(stanzalake: Command, *arguments: str) -> dict[str, int]:
    status, out, err = await stanzalake.run("import", "--json", *arguments)
    assert status == 0, err
    numbers: dict[str, int] = json.loads(out)
    return numbers


async def exported(stanzalake: Command, owner: str) -> list[tuple[str, str]]:
    status, out, err = await stanzalake.run("export", owner, "--format", "jsonl")
    assert status == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    for line in lines:
        assert (line["peer"], line["peer_resource"], line["direction"]) == (ROMEO, "one", "in")
        assert "urn:x" in line["stanza"]
    bodies = [ET.fromstring(line["stanza"]).findtext(f"{CLIENT}body") for line in lines]  # noqa: S314
    return [(line["id"], body or "") for line, body in zip(lines, bodies, strict=True)]

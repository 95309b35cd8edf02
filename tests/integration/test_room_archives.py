"""Commands of an operator on the archive of a room."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from stanzalake.config import settings
from stanzalake.model.position import from_milliseconds
from stanzalake.store import migrations
from stanzalake.store.client import Row, Store
from tests.support.archives import SEALER, START, row
from tests.support.command import Command
from tests.support.events import JULIET, ROMEO
from tests.support.processes import Run

HOST = "capulet.lit"
ROOMS = f"rooms.{HOST}"
HALL, GARDEN = f"hall@{ROOMS}", f"garden@{ROOMS}"


def said(room: str, second: int, nick: str, occupant: str, body: str) -> Row:
    """Give a room's message; one without a nick is of the room itself."""
    sender = f"{room}/{nick}" if nick else room
    text = (
        f"<message xmlns='jabber:client' from='{sender}' type='groupchat' id='m{second}'>"
        f"<body>{body}</body></message>"
    )
    at = from_milliseconds(START + 1000 * second)
    return Row(room, at, room, nick, "in", "groupchat", text, "", occupant)


def left(room: str, second: int, nick: str, occupant: str) -> Row:
    """Give the presence with which an occupant left."""
    text = f"<presence xmlns='jabber:client' from='{room}/{nick}' type='unavailable'/>"
    at = from_milliseconds(START + 1000 * second)
    return Row(room, at, room, nick, "in", "presence", text, "", occupant)


IN_HALL = [
    said(HALL, 0, "Romeo", ROMEO, "a fine mask"),
    said(HALL, 1, "Juliet", JULIET, "good pilgrim"),
    said(HALL, 2, "", "", "the mask is off"),
]

GONE = [left(HALL, 4, "Romeo", ROMEO)]


@pytest.fixture
async def stanzalake(run: Run, tmp_path: Path) -> Command:
    """Give the command line beside a running `up`, whose store has two rooms and an account."""
    command = Command(tmp_path)
    command.settings |= {
        "STANZALAKE_HOSTS": f"{HOST}, {ROOMS}",
        "PROSODY_ARCHIVE_EXPIRES_AFTER": "never",
    }
    await run(command.up())
    values = settings.load(command.settings)
    with closing(Store.for_admin(values)) as store:
        migrations.apply(store, values)
        store.insert([*IN_HALL, said(GARDEN, 3, "Romeo", ROMEO, "a mask"), row(1)])
        store.insert([IN_HALL[0], *GONE])
    return command


async def output(stanzalake: Command, *arguments: str) -> str:
    status, out, err = await stanzalake.run(*arguments)
    assert status == 0, err
    return out


async def test_an_operator_counts_finds_exports_and_erases_what_was_said_in_a_room(
    stanzalake: Command,
) -> None:
    counted = json.loads(await output(stanzalake, "stats", "--json"))
    hosts = {host["host"]: (host["messages"], host["owners"]) for host in counted["hosts"]}
    assert hosts.keys() == {ROOMS, HOST}
    assert hosts[ROOMS][1] == 2
    assert hosts[ROOMS][0] in {4, 5}  # one of them is stored twice

    found = await output(stanzalake, "search", "mask", "--owner", HALL.title())
    assert [line.partition("Z ")[2] for line in found.splitlines()] == [
        f"{HALL}/Romeo: a fine mask",
        f"{HALL}: the mask is off",
    ]
    everywhere = (await output(stanzalake, "search", "mask", "--json")).splitlines()
    authors = [(one["owner"], one["peer_resource"]) for one in map(json.loads, everywhere)]
    assert authors == [(HALL, "Romeo"), (HALL, ""), (GARDEN, "Romeo")]

    lines = (await output(stanzalake, "export", HALL, "--format", "jsonl")).splitlines()
    exported = [json.loads(line) for line in lines]
    stored = [*IN_HALL, *GONE]
    assert [line["id"] for line in exported] == [SEALER.seal(HALL, r.position) for r in stored]
    assert [line["stanza"] for line in exported] == [r.stanza for r in stored]
    assert [line.get("occupant") for line in exported] == [ROMEO, JULIET, None, ROMEO]
    assert "<presence" not in await output(stanzalake, "export", HALL)

    await output(stanzalake, "delete", HALL, "--yes", "--start", "2026-09-21T14:13:21Z")
    lines = (await output(stanzalake, "export", HALL, "--format", "jsonl")).splitlines()
    assert [json.loads(line)["stanza"] for line in lines] == [IN_HALL[0].stanza]
    gone = json.loads(await output(stanzalake, "delete", HALL, "--yes", "--json"))
    assert gone == {"owner": HALL, "messages": 1, "presences": 0, "erased": True}
    assert (await stanzalake.run("export", HALL))[0] == 1
    assert await output(stanzalake, "search", "mask", "--owner", HALL) == ""
    assert "a mask" in await output(stanzalake, "export", GARDEN)

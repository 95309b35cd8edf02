"""Rooms beside mod_muc_mam's: the same scripted life of a room, and moving to ours."""

import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from tests.support.clients import CLIENT, RawClient, condition
from tests.support.command import Command
from tests.support.deployments import session
from tests.support.processes import Run
from tests.support.queries import field, form, query
from tests.support.rooms import (
    MUC,
    ROOM,
    ROOMS,
    affiliate,
    bodies,
    component,
    configure,
    join,
    real_jid,
    room_entries,
    statuses,
    talk,
    with_rooms,
)
from tests.support.server import HOST, ROMEO, Server

_SQLITE = 'storage = "sql"\nsql = { driver = "SQLite3", database = "prosody.sqlite" }\n'
METADATA = "<metadata xmlns='urn:xmpp:mam:2'/>"
Life = dict[str, object]


class World(NamedTuple):
    """A server with rooms: sessions of a user by resource, and a kill and start of Prosody."""

    enter: Callable[[str, str], Awaitable[RawClient]]
    restart: Callable[[], Awaitable[None]]


DISCO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
PRESENCES = "muc_log_presences = true\n"
"""Which both archives store, and neither lets a client read."""
DELAY = "{urn:xmpp:delay}delay"
RETRACT = "<retract xmlns='urn:xmpp:message-retract:1' id='{}'/>"
MODERATION = {
    "urn:xmpp:message-moderate:1": "<moderate xmlns='urn:xmpp:message-moderate:1' id='{}'>"
    "<retract xmlns='urn:xmpp:message-retract:1'/><reason>rude</reason></moderate>",
    "urn:xmpp:message-moderate:0": "<apply-to xmlns='urn:xmpp:fasten:0' id='{}'>"
    "<moderate xmlns='urn:xmpp:message-moderate:0'>"
    "<retract xmlns='urn:xmpp:message-retract:0'/><reason>rude</reason></moderate></apply-to>",
}
"""A moderator's request by the version of XEP-0425, the newest first."""
_TOLD_BY_MUC_MAM = [
    *("one", "two", "three", "shown", "again"),
    *("moderated", "mine", "apply-to", "retracting"),
]
_TOLD = [
    *("one", "two", "reactions", "retract", "three", "shown", "again"),
    *("retract", "retracting"),
]
_HEARD = [*_TOLD[:6], "unkept", *_TOLD[6:]]
DIFFERENCES = {
    "told on join that it is archived": (False, True),
    "told again by an unchanged configuration": (True, False),
    "what has no body": (["apply-to"], ["reactions", "retract", "retract"]),
    "a message that its author retracted": ("mine", "retracted"),
    "a message that a moderator retracted": ("moderated", "retracted"),
    "what a room tells who joins": (_TOLD_BY_MUC_MAM, _HEARD),
    "what it tells after a restart": (_TOLD_BY_MUC_MAM, _TOLD),
    "moderating an id that never was": ("modify/item-not-found", "cancel/item-not-found"),
    "with an occupant": (["one", "two", "three", "shown", "again"], ["two", "shown"]),
    "metadata": ("cancel/service-unavailable", "result"),
    "real JIDs for a moderator of a semi-anonymous room": (0, 10),
    "made-up identities": (1, 0),
    "a stranger in a room with a password": ("result", "auth/forbidden"),
    "a destroyed room": ("result", "auth/forbidden"),
    "an id that never was": ("modify/item-not-found", "cancel/item-not-found"),
}
"""What mod_muc_mam does, and what is done here."""


async def live(world: World) -> Life:
    """Live through the same with either archive, and give what was seen."""
    seen: Life = {}
    juliet, romeo = await world.enter("juliet", "one"), await world.enter("romeo", "one")
    await join(juliet, "Juliet")
    seen["told on join that it is archived"] = "170" in statuses(await join(romeo, "Romeo"))
    await configure(juliet, {"muc#roomconfig_persistentroom": "1"})
    ids = [await talk(juliet, "one", "m1"), await talk(romeo, "two", "m2")]
    romeo.send_raw(f"<message to='{ROOM}' type='groupchat'><subject>on love</subject></message>")
    for name in ("reactions", "retract"):
        space = "urn:xmpp:reactions:0" if name == "reactions" else "urn:xmpp:message-retract:1"
        element = f"<{name} xmlns='{space}' id='m1'/>"
        romeo.send_raw(f"<message to='{ROOM}' type='groupchat' id='{name}'>{element}</message>")
        await romeo.message(name)
    ids.append(await talk(juliet, "three", "m3"))
    await configure(juliet, {"muc#roomconfig_whois": "anyone"})
    ids.append(await talk(romeo, "shown", "m4"))
    await configure(juliet, {"muc#roomconfig_enablearchiving": "0"})
    seen["while it is not archived"] = await talk(romeo, "unkept", "m5")
    await configure(juliet, {"muc#roomconfig_enablearchiving": "1"})
    ids.append(await talk(juliet, "again", "m6", extra=f"<x xmlns='{MUC}#user' made='up'/>"))
    juliet.received.clear()
    await configure(juliet, {"muc#roomconfig_enablearchiving": "1"})
    await affiliate(juliet, ROMEO, "member")
    seen["told again by an unchanged configuration"] = any(
        "170" in statuses(x) for x in juliet.received
    )
    retracted = await retract(seen, juliet, romeo)
    seen["what a room tells who joins"] = await told(await world.enter("romeo", "two"))
    await world.restart()
    juliet, romeo = await world.enter("juliet", "three"), await world.enter("romeo", "three")
    await join(juliet, "Juliet")
    seen["what it tells after a restart"] = await told(romeo)
    await read(seen, juliet, romeo, ids, retracted)
    await close_down(seen, juliet, romeo)
    return seen


async def retract(seen: Life, juliet: RawClient, romeo: RawClient) -> dict[str, str]:
    """Retract a message as a moderator and one as its author, and give their ids."""
    info = ET.tostring(await juliet.ask("get", DISCO, to=ROOM), "unicode")
    form = next(form for namespace, form in MODERATION.items() if namespace in info)
    rude, mine = await talk(romeo, "rude", "m7"), await talk(romeo, "mine", "m8")
    attempts = {
        "moderating as a participant": (romeo, rude),
        "moderating an id that never was": (juliet, "never"),
        "moderating as a moderator": (juliet, rude),
    }
    for name, (client, id_) in attempts.items():
        seen[name] = outcome(await client.ask("set", form.format(id_), to=ROOM))
    await talk(romeo, "retracting", "m9", extra=RETRACT.format(mine))
    return {"a moderator": rude, "its author": mine}


async def told(romeo: RawClient) -> list[str]:
    """Enter the room, and give the history that it tells."""
    await join(romeo, "Romeo")
    history = romeo.found(lambda x: x.get("type") == "groupchat" and x.find(DELAY) is not None)
    return [content(x) for x in history if x.find(f"{CLIENT}subject") is None]


def content(message: ET.Element) -> str:
    """Give the text of a message, or the name of the element that it has instead."""
    names = (child.tag.partition("}")[2] for child in message)
    return message.findtext(f"{CLIENT}body") or next(n for n in names if n != "occupant-id")


async def read(
    seen: Life, juliet: RawClient, romeo: RawClient, ids: list[str], retracted: dict[str, str]
) -> None:
    entries = await room_entries(romeo)
    contents = {e.id: content(e.message) for e in entries}
    for name, id_ in retracted.items():
        seen[f"a message that {name} retracted"] = contents[id_]
    entries = [e for e in entries if e.id not in retracted.values()]
    spoken = [e for e in entries if e.message.find(f"{CLIENT}body") is not None]
    seen["messages"] = bodies(spoken)
    seen["their ids"] = [e.id for e in spoken][: len(ids)] == ids
    seen["what has no body"] = [content(e.message) for e in entries if e not in spoken]
    seen["real JIDs where the room shows them"] = [
        real_jid(e.message) for e in spoken if real_jid(e.message)
    ]
    seen["made-up identities"] = sum("made" in x.attrib for e in entries for x in e.message)
    chosen = await room_entries(romeo, form(field("with", f"{ROOM}/Romeo")))
    seen["with an occupant"] = [
        b for b in bodies(chosen) if b in {"one", "two", "three", "shown", "again"}
    ]
    seen["metadata"] = outcome(await romeo.ask("get", METADATA, to=ROOM))
    after = "<set xmlns='http://jabber.org/protocol/rsm'><after>never</after></set>"
    seen["an id that never was"] = outcome(await romeo.ask("set", query(after), to=ROOM))
    await configure(juliet, {"muc#roomconfig_whois": "moderators"})
    hidden = [real_jid(e.message) for e in await room_entries(romeo)]
    seen["real JIDs once the room hides them"] = [x for x in hidden if x]
    moderator = [real_jid(e.message) for e in await room_entries(juliet)]
    seen["real JIDs for a moderator of a semi-anonymous room"] = sum(
        x is not None for x in moderator
    )


async def close_down(seen: Life, juliet: RawClient, romeo: RawClient) -> None:
    await affiliate(juliet, ROMEO, "none")
    romeo.send_raw(f"<presence type='unavailable' to='{ROOM}/Romeo'/>")
    await romeo.expect(
        lambda x: x.get("type") == "unavailable" and x.get("from") == f"{ROOM}/Romeo"
    )
    await configure(
        juliet, {"muc#roomconfig_roomsecret": "sesame", "muc#roomconfig_passwordprotectedroom": "1"}
    )
    seen["a stranger in a room with a password"] = outcome(await romeo.ask("set", query(), to=ROOM))
    await configure(
        juliet, {"muc#roomconfig_roomsecret": "", "muc#roomconfig_passwordprotectedroom": "0"}
    )
    seen["a stranger in an open room"] = outcome(await romeo.ask("set", query(), to=ROOM))
    await configure(juliet, {"muc#roomconfig_membersonly": "1"})
    seen["a stranger in a members-only room"] = outcome(await romeo.ask("set", query(), to=ROOM))
    await affiliate(juliet, ROMEO, "outcast")
    seen["an outcast"] = outcome(await romeo.ask("set", query(), to=ROOM))
    destruction = f"<query xmlns='{MUC}#owner'><destroy/></query>"
    assert (await juliet.ask("set", destruction, to=ROOM)).get("type") == "result"
    seen["a destroyed room"] = outcome(await juliet.ask("set", query(), to=ROOM))
    seen["no room"] = outcome(await romeo.ask("set", query(), to=f"nowhere@{ROOMS}"))


def outcome(answer: object) -> str:
    assert hasattr(answer, "get")
    return "result" if answer.get("type") == "result" else condition(answer)  # type: ignore[arg-type]  # an element


async def old_server(run: Run, directory: Path) -> Server:
    section = component(_SQLITE + PRESENCES, modules=("muc_mam", "muc_moderation"))
    return await run(Server(directory, section, modules=("roster",)))


async def test_a_rooms_life_is_that_beside_mod_muc_mam_but_for_named_differences(
    run: Run, tmp_path: Path
) -> None:
    server = await old_server(run, tmp_path / "old")
    old = await live(World(server.client, server.crash))
    await server.stop()
    deployment = await run(with_rooms(tmp_path / "new", PRESENCES))

    async def restart() -> None:
        await deployment.prosody.kill()
        await deployment.prosody.start()

    new = await live(World(partial(session, deployment), restart))
    assert {name: (old[name], new[name]) for name in old if old[name] != new[name]} == DIFFERENCES
    assert old["messages"] == ["one", "two", "three", "shown", "again", "retracting"]


async def test_rooms_of_mod_muc_mam_are_imported_with_their_ids(run: Run, tmp_path: Path) -> None:
    server = await old_server(run, tmp_path / "old")
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await join(juliet, "Juliet")
    await join(romeo, "Romeo")
    said = [(await talk(juliet, "one", "m1"), "one")]
    await configure(juliet, {"muc#roomconfig_whois": "anyone"})
    said.append((await talk(romeo, "two", "m2"), "two"))
    stanzalake = Command(tmp_path)
    stanzalake.settings["STANZALAKE_HOSTS"] = f"{HOST},{ROOMS}"
    assert (await stanzalake.run("migrate"))[0] == 0
    file = server.prosody.data_path / "prosody.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode = WAL")
    for number in (4, 0):
        status, out, err = await stanzalake.run("import", "--json", f"sqlite:///{file}")
        assert (status, json.loads(out)["imported"]) == (0, number), err
    status, out, err = await stanzalake.run("export", ROOM, "--format", "jsonl")
    assert status == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["kind"] for line in lines] == ["presence", "presence", "groupchat", "groupchat"]
    assert [line["peer_resource"] for line in lines] == ["Juliet", "Romeo"] * 2
    found = lines[2:]
    assert [line["id"] for line in found] == [id_ for id_, _ in said]
    assert {(line["peer"], line["direction"]) for line in found} == {(ROOM, "in")}
    assert all(" to=" not in line["stanza"].partition(">")[0] for line in found)
    assert [ROMEO in line["stanza"] for line in found] == [False, True]

"""Rooms of a real Prosody: what the tap journals of them, and what it forwards for whom."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

from stanzalake.model import position
from stanzalake.model.event import Erasure, Message
from stanzalake.store.client import Row
from tests.support.clients import CLIENT, RawClient, condition, stanza_ids
from tests.support.components import FIN, FakeIngest, FakeQuery, Forwarded
from tests.support.processes import Run
from tests.support.queries import query
from tests.support.rooms import (
    MUC,
    ROOM,
    ROOMS,
    affiliate,
    component,
    configure,
    give_role,
    join,
    moderation,
    statuses,
    talk,
)
from tests.support.server import HOST, JULIET, KEY, PASSWORD, ROMEO, Server
from tests.support.stores import migrated_store
from tests.support.wait import until

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
SEALER = position.Sealer([KEY])
GATEWAY = f"irc.{HOST}"
METADATA = "<metadata xmlns='urn:xmpp:mam:2'/>"
DISCO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
FORGED = "<stanza-id xmlns='urn:xmpp:sid:0' by='{}' id='forged'/>"


class Scene(NamedTuple):
    """A server with a MUC component, Juliet in a room that she owns, and Romeo online."""

    server: Server
    ingest: FakeIngest
    query: FakeQuery
    juliet: RawClient
    romeo: RawClient


async def setting(run: Run, tmp_path: Path, options: str = "") -> Scene:
    gateway = f'Component "{GATEWAY}"\ncomponent_secret = "{PASSWORD}"\n'
    section = component(f'stanzalake_id_keys = "{KEY}"\n{options}')
    server = await run(Server(tmp_path, section + gateway))
    ingest, asked = await server.ingest(), await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await join(juliet, "Juliet")
    return Scene(server, ingest, asked, juliet, romeo)


@pytest.fixture
async def scene(run: Run, tmp_path: Path) -> Scene:
    return await setting(run, tmp_path)


async def room_event(scene: Scene, body: str) -> Message:
    return await scene.ingest.arrival(body, ROOM)


@pytest.mark.requirement("313-130")
async def test_a_rooms_message_is_one_event_with_its_author(scene: Scene) -> None:
    await join(scene.romeo, "Romeo")
    id_ = await talk(scene.romeo, "hello", "m1")
    event = await room_event(scene, "hello")
    assert (event.owner, event.peer, event.peer_resource) == (ROOM, ROOM, "Romeo")
    assert (event.kind, event.direction, event.contact) == ("groupchat", "in", False)
    assert event.occupant == ROMEO
    assert ROMEO not in event.stanza
    assert SEALER.seal(ROOM, event.position) == id_
    assert [e.owner for e in scene.ingest.events] == [ROOM]


KEPT = {
    "a body": "<body>x</body>",
    "an encrypted one": "<encryption xmlns='urn:xmpp:eme:0' namespace='x'/>",
    "a marker": "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>",
    "a store hint": "<store xmlns='urn:xmpp:hints'/>",
    "a reaction": "<reactions xmlns='urn:xmpp:reactions:0' id='x'/>",
    "a retraction": "<retract xmlns='urn:xmpp:message-retract:1' id='x'/>",
    "a forged author": "<body>x</body><x xmlns='http://jabber.org/protocol/muc#user'/>",
}
NOT_KEPT = {
    "a subject": "<subject>x</subject>",
    "a chat state": "<active xmlns='http://jabber.org/protocol/chatstates'/>",
    "no-store": "<body>x</body><no-store xmlns='urn:xmpp:hints'/>",
    "a reaction with no-store": f"{KEPT['a reaction']}<no-store xmlns='urn:xmpp:hints'/>",
}


async def test_presences_are_archived_on_demand_while_the_room_is(run: Run, tmp_path: Path) -> None:
    scene = await setting(run, tmp_path, "muc_log_presences = true")
    await join(scene.romeo, "Romeo")
    await configure(scene.juliet, {"muc#roomconfig_enablearchiving": "0"})
    scene.romeo.send_raw(f"<presence to='{ROOM}/Romeo' type='unavailable'/>")
    await scene.romeo.expect(lambda x: x.get("type") == "unavailable")
    await configure(scene.juliet, {"muc#roomconfig_enablearchiving": "1"})
    other = await scene.server.client("romeo", "two")
    await join(other, "Other")
    await other.offline()
    await scene.juliet.expect(
        lambda x: x.get("from") == f"{ROOM}/Other" and x.get("type") == "unavailable"
    )
    await talk(scene.juliet, "alone", "m1")
    await room_event(scene, "alone")
    told = [e for e in scene.ingest.events if e.kind == "presence"]
    assert [(e.peer_resource, e.occupant, "unavailable" in e.stanza) for e in told] == [
        ("Juliet", JULIET, False),
        ("Romeo", ROMEO, False),
        ("Other", ROMEO, False),
        ("Other", ROMEO, True),
    ]
    for event in told:
        assert ET.fromstring(event.stanza).tag == f"{CLIENT}presence"  # noqa: S314  # our own
        assert (event.owner, event.peer, event.direction) == (ROOM, ROOM, "in")
        assert ROMEO not in event.stanza


@pytest.mark.requirement("313-128", "313-129", "313-141")
async def test_a_room_keeps_what_is_worth_it(scene: Scene) -> None:
    for number, content in enumerate([*KEPT.values(), *NOT_KEPT.values()]):
        scene.juliet.send_raw(
            f"<message to='{ROOM}' type='groupchat' id='n{number}'>{content}"
            f"<mark xmlns='urn:mark' n='{number}'/></message>"
        )
    await talk(scene.juliet, "last", "m1")
    await room_event(scene, "last")
    marks = [re.findall("n='([0-9]+)'", event.stanza) for event in scene.ingest.events]
    assert f"{MUC}#user" not in "".join(event.stanza for event in scene.ingest.events)
    assert [mark for found in marks for mark in found] == [str(n) for n in range(len(KEPT))]


async def test_the_configuration_decides_and_everybody_learns_of_it(scene: Scene) -> None:
    """XEP-0045 §10.2.1 and §7.2.12."""
    juliet, romeo = scene.juliet, scene.romeo
    assert "170" in statuses(await join(romeo, "Romeo"))
    form = await juliet.ask("get", f"<query xmlns='{MUC}#owner'/>", to=ROOM)
    assert value(form, "muc#roomconfig_enablearchiving") == "1"
    assert "urn:xmpp:mam:2" in features(await romeo.ask("get", DISCO, to=ROOM))
    for enabled, code in (("0", "171"), ("1", "170")):
        romeo.received.clear()
        await configure(juliet, {"muc#roomconfig_enablearchiving": enabled})
        told = await romeo.expect(lambda x: x.get("type") == "groupchat" and bool(statuses(x)))
        assert code in statuses(told)
        info = await romeo.ask("get", DISCO, to=ROOM)
        assert ("urn:xmpp:mam:2" in features(info)) == (enabled == "1")
        assert value(info, "muc#roomconfig_enablearchiving") == enabled
        id_ = await talk(romeo, f"while {enabled}", f"m{enabled}")
        assert bool(id_) == (enabled == "1")
    await room_event(scene, "while 1")
    assert "while 0" not in "".join(event.stanza for event in scene.ingest.events)
    romeo.received.clear()
    await configure(juliet, {"muc#roomconfig_enablearchiving": "1"})
    await talk(romeo, "nothing changed", "m3")
    assert not any(statuses(x) & {"170", "171"} for x in romeo.received)


async def test_rooms_may_be_archived_only_on_demand_or_always(run: Run, tmp_path: Path) -> None:
    scene = await setting(run, tmp_path / "demand", "muc_log_by_default = false")
    assert await talk(scene.juliet, "not yet", "m1") == ""
    await configure(scene.juliet, {"muc#roomconfig_enablearchiving": "1"})
    assert await talk(scene.juliet, "now", "m2") != ""
    await scene.server.stop()
    scene = await setting(run, tmp_path / "always", "muc_log_all_rooms = true")
    form = await scene.juliet.ask("get", f"<query xmlns='{MUC}#owner'/>", to=ROOM)
    assert value(form, "muc#roomconfig_enablearchiving") is None
    await configure(scene.juliet, {"muc#roomconfig_enablearchiving": "0"})
    assert await talk(scene.juliet, "always", "m1") != ""


@pytest.mark.requirement("313-131")
async def test_private_messages_and_invitations_pass_as_without_us(scene: Scene) -> None:
    await join(scene.romeo, "Romeo")
    forged = "".join(FORGED.format(by) for by in (ROOM, ROOM.upper(), f"{ROOM}."))
    scene.juliet.say(f"{ROOM}/Romeo", "psst", "p1", forged)
    message = await scene.romeo.message("p1")
    assert message.get("from") == f"{ROOM}/Juliet"
    assert "forged" not in dict(stanza_ids(message)).values()
    await scene.ingest.arrival("psst", ROMEO)
    owners = {event.owner for event in scene.ingest.events}
    assert owners == {JULIET, ROMEO}


def matrix() -> Mapping[tuple[str, str], bool]:
    """Read the table of the security page: whether an asker may read, by asker and room."""
    lines = SECURITY.read_text().partition("| asker |")[2].splitlines()
    rooms = [cell.strip() for cell in lines[0].strip(" |").split("|")]
    found: dict[tuple[str, str], bool] = {}
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        asker, *cells = (cell.strip() for cell in line.strip(" |").split("|"))
        found |= {(asker, room): cell == "reads" for room, cell in zip(rooms, cells, strict=True)}
    return found


ROOM_TYPES = {
    "open": {"members": "0", "password": "0"},
    "with a password": {"members": "0", "password": "1"},
    "members only": {"members": "1", "password": "0"},
}


@pytest.mark.requirement("313-132", "313-133", "313-134", "313-135")
async def test_who_reads_a_room_is_decided_before_a_request_leaves_prosody(scene: Scene) -> None:
    """Each affiliation in each type of room, as the table in docs/security.md says."""
    wanted, seen = matrix(), {}
    for room_type, values in ROOM_TYPES.items():
        for asker in ("owner", "admin", "member", "none, in the room", "none", "outcast"):
            if (asker, room_type) not in wanted:
                continue
            await configure(scene.juliet, room_form(members="0", password="0"))
            await affiliate(scene.juliet, ROMEO, asker.partition(",")[0])
            if "in the room" in asker:
                await join(scene.romeo, "Romeo")
            await configure(scene.juliet, room_form(**values))
            affiliation = asker.partition(",")[0]
            seen[asker, room_type] = await may_read(
                scene, affiliation, moderator=affiliation in {"owner", "admin"}
            )
            scene.romeo.send_raw(f"<presence to='{ROOM}/Romeo' type='unavailable'/>")
    assert seen == wanted
    assert set(wanted.values()) == {True, False}


async def may_read(
    scene: Scene, affiliation: str, *, moderator: bool, whois: str = "moderators"
) -> bool:
    """Tell whether Romeo may read, and compare what the query service learns of his rights."""
    before = len(scene.query.requests)
    answers = [
        await scene.romeo.ask("set", query(), to=ROOM),
        await scene.romeo.ask("get", query(), to=ROOM),
        await scene.romeo.ask("get", METADATA, to=ROOM),
    ]
    forwarded = scene.query.requests[before:]
    if answers[0].get("type") == "error":
        assert {condition(answer) for answer in answers} == {"auth/forbidden"}
        assert forwarded == []
        return False
    assert len(forwarded) == len(answers)
    for request in forwarded:
        assert (request.header["owner"], request.header["asker"]) == (ROOM, f"{ROMEO}/one")
        assert request.header["room"] == {
            "affiliation": affiliation,
            "whois": whois,
            "moderator": moderator,
        }
    return True


async def test_a_role_shows_hidden_authors_while_it_lasts_and_opens_no_room(scene: Scene) -> None:
    """Each role without and with an affiliation, and configurations that change meanwhile."""
    juliet, romeo = scene.juliet, scene.romeo
    id_ = await talk(juliet, "whose?", "m1")
    whois = "moderators"
    for affiliation in ("none", "member"):
        await configure(juliet, {"muc#roomconfig_membersonly": "0"})
        await affiliate(juliet, ROMEO, affiliation)
        await join(romeo, "Romeo")
        for role in ("visitor", "moderator", "participant"):
            await give_role(juliet, "Romeo", role)
            is_moderator = role == "moderator"
            whois = "anyone" if whois == "moderators" else "moderators"
            await configure(
                juliet, {"muc#roomconfig_moderatedroom": "1", "muc#roomconfig_whois": whois}
            )
            assert await may_read(scene, affiliation, moderator=is_moderator, whois=whois), role
            answer = await romeo.ask("set", moderation(id_), to=ROOM)
            assert (answer.get("type") == "result") == is_moderator, role
        await give_role(juliet, "Romeo", "moderator")
        await configure(juliet, {"muc#roomconfig_membersonly": "1"})
        is_member = affiliation == "member"
        assert await may_read(scene, affiliation, moderator=is_member, whois=whois) == is_member
        romeo.send_raw(f"<presence to='{ROOM}/Romeo' type='unavailable'/>")
        await romeo.expect(lambda x: x.get("type") == "unavailable")
        assert await may_read(scene, affiliation, moderator=False, whois=whois) == is_member
        romeo.received.clear()


def room_form(members: str, password: str) -> dict[str, str]:
    return {
        "muc#roomconfig_membersonly": members,
        "muc#roomconfig_passwordprotectedroom": password,
        "muc#roomconfig_roomsecret": "sesame" if password == "1" else "",
    }


async def test_a_destroyed_room_is_erased_and_closed(scene: Scene) -> None:
    await configure(scene.juliet, {"muc#roomconfig_persistentroom": "1"})
    await talk(scene.juliet, "doomed", "m1")
    event = await room_event(scene, "doomed")
    destroyed = f"<query xmlns='{MUC}#owner'><destroy><reason>over</reason></destroy></query>"
    assert (await scene.juliet.ask("set", destroyed, to=ROOM)).get("type") == "result"
    await until(lambda: [e for e in scene.ingest.everything if isinstance(e, Erasure)])
    [erasure] = [e for e in scene.ingest.everything if isinstance(e, Erasure)]
    assert erasure.covers(event)
    assert (erasure.owner, erasure.account, erasure.by) == (ROOM, False, "room destroyed")
    answer = await scene.romeo.ask("set", query(), to=ROOM)
    assert condition(answer) == "auth/forbidden"


async def test_a_room_without_messages_is_not_erased(scene: Scene) -> None:
    scene.juliet.send_raw(f"<presence to='{ROOM}/Juliet' type='unavailable'/>")
    await until(lambda: any(x.get("type") == "unavailable" for x in scene.juliet.received))
    await join(scene.juliet, "Juliet")
    await talk(scene.juliet, "first", "m1")
    await room_event(scene, "first")
    assert [e for e in scene.ingest.everything if isinstance(e, Erasure)] == []


async def test_a_components_user_reads_a_room(scene: Scene) -> None:
    bot = await scene.server.component(GATEWAY, PASSWORD)
    scene.query.answer = lambda request: scene.query.page(request, "a", "b")
    before = len(bot.replies)
    bot.send_raw(f"<iq type='set' id='q1' from='ghost@{GATEWAY}/irc' to='{ROOM}'>{query()}</iq>")
    await until(lambda: len(bot.replies) > before)
    assert bot.replies[-1].get("type") == "result"
    [request] = scene.query.requests
    assert request.header["asker"] == f"ghost@{GATEWAY}/irc"
    assert request.header["room"]["affiliation"] == "none"


async def test_nobody_reads_a_room_that_does_not_exist(scene: Scene) -> None:
    for to in (f"nowhere@{ROOMS}", ROOMS):
        answer = await scene.romeo.ask("set", query(), to=to)
        assert condition(answer) in {"cancel/item-not-found", "cancel/service-unavailable"}
    assert scene.query.requests == []


def value(stanza: ET.Element, name: str) -> str | None:
    """Give the value of a form's field."""
    field = next((x for x in stanza.iter("{jabber:x:data}field") if x.get("var") == name), None)
    return None if field is None else field.findtext("{jabber:x:data}value")


def features(stanza: ET.Element) -> set[str]:
    """Give the features of a disco#info answer."""
    return {x.get("var", "") for x in stanza[0] if x.tag.endswith("}feature")}


async def test_who_joins_waits_for_the_history_but_not_for_long(run: Run, tmp_path: Path) -> None:
    scene = await setting(run, tmp_path, "stanzalake_freshness_timeout = 1")
    await configure(scene.juliet, {"muc#roomconfig_persistentroom": "1"})
    await talk(scene.juliet, "before the crash", "m1")
    event = await room_event(scene, "before the crash")
    kept: list[Forwarded] = []

    def keep(request: Forwarded) -> str:
        kept.append(request)
        return ""

    scene.query.answer = keep
    await scene.server.crash()
    juliet = await scene.server.client("juliet", "two")
    await join(juliet, "Juliet")
    assert not juliet.found(lambda x: x.find("{urn:xmpp:delay}delay") is not None)
    await talk(juliet, "after it", "m2")
    await until(lambda: kept)
    [request] = kept
    assert request.header["room"] == {
        "affiliation": "none",
        "moderator": False,
        "whois": "moderators",
    }
    id_ = SEALER.seal(ROOM, event.position)
    old = scene.query.reply(request, FIN, [room_result(id_, "before the crash")])
    scene.query.send_raw(old)
    await scene.query.round_trip()
    romeo = await scene.server.client("romeo", "two")
    await join(romeo, "Romeo")
    history = romeo.found(lambda x: x.find("{urn:xmpp:delay}delay") is not None)
    assert [x.findtext(f"{CLIENT}body") for x in history] == ["before the crash", "after it"]
    assert stanza_ids(history[0]) == [(ROOM, id_)]


def room_result(id_: str, body: str) -> str:
    """Give a result message for the room itself."""
    return (
        f"<message from='{ROOM}' to='{ROOM}'><result xmlns='urn:xmpp:mam:2' id='{id_}'>"
        "<forwarded xmlns='urn:xmpp:forward:0'>"
        "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"
        f"<message xmlns='jabber:client' type='groupchat' from='{ROOM}/Juliet' id='m1'>"
        f"<body>{body}</body></message></forwarded></result></message>"
    )


async def test_a_private_message_to_two_sessions_of_a_nick_is_one_entry(scene: Scene) -> None:
    other = await scene.server.client("romeo", "two")
    await join(scene.romeo, "Romeo")
    await join(other, "Romeo")
    for number in (1, 2):
        scene.juliet.say(f"{ROOM}/Romeo", "psst", f"p{number}")
    events = []
    for number in (1, 2):
        copies = [await romeo.message(f"p{number}") for romeo in (scene.romeo, other)]
        ids = {tuple(stanza_ids(copy)) for copy in copies}
        [[(by, id_)]] = ids
        assert by == ROMEO
        events.append(id_)
    await scene.ingest.arrival("psst", ROMEO)
    await talk(scene.juliet, "settled", "m1")
    await room_event(scene, "settled")
    of_romeo = [event for event in scene.ingest.events if event.owner == ROMEO]
    assert [SEALER.seal(ROMEO, event.position) for event in of_romeo] == events
    await scene.ingest.arrival("psst", JULIET)
    private = [event for event in scene.ingest.events if event.owner in {JULIET, ROMEO}]
    with migrated_store("chdb://:memory:") as store:
        store.insert([Row.of(event, event.stanza) for event in private])
        pairs = store.select(f"SELECT messages FROM {store.table}_pairs")
    assert (len(private), pairs) == (4, [(2,)])  # analysts count each once


async def test_an_operator_erases_a_room_and_what_it_tells_new_occupants(scene: Scene) -> None:
    await talk(scene.juliet, "regretted", "m1")
    event = await room_event(scene, "regretted")
    control = scene.server.prosody.control
    code, output = await control("mod_stanzalake", "delete", "--yes", "--account", ROOM)
    assert (code, "has no accounts" in output) == (2, True), output
    code, output = await control("mod_stanzalake", "delete", "--yes", ROOM)
    assert code == 0, output
    [erasure] = [e for e in scene.ingest.everything if isinstance(e, Erasure)]
    assert erasure.covers(event)
    await join(scene.romeo, "Romeo")
    assert not scene.romeo.found(lambda x: x.find("{urn:xmpp:delay}delay") is not None)
    code, output = await control("mod_stanzalake", "status")
    assert ROOMS in output
    assert HOST in output

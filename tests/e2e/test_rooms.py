"""Rooms from end to end: what was said in a MUC of a real Prosody, as its occupants read it."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from slixmpp import JID

from devstack.deployment import HOST, Deployment
from query.forms import TEXT_FIELD
from stanzalake.xmpp.namespaces import FULL_TEXT, RSM, tag
from tests.support.clients import CLIENT, RawClient, condition, stanza_ids
from tests.support.command import Command
from tests.support.deployments import JULIET, ROMEO, entries, session
from tests.support.processes import Run
from tests.support.queries import field, form, page, query
from tests.support.rooms import (
    ROOM,
    affiliate,
    bodies,
    configure,
    join,
    moderation,
    real_jid,
    room_entries,
    talk,
    with_rooms,
)

LONG_AGO = "2000-01-01T00:00:00Z"
FORGED = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{ROOM}' id='forged'/>"


@pytest.fixture
async def deployment(run: Run, tmp_path: Path) -> Deployment:
    return await run(with_rooms(tmp_path, "muc_log_presences = true"))


async def occupants(deployment: Deployment) -> tuple[RawClient, RawClient]:
    juliet, romeo = await session(deployment, "juliet"), await session(deployment, "romeo")
    await join(juliet, "Juliet")
    await join(romeo, "Romeo")
    return juliet, romeo


@pytest.mark.requirement(
    "313-14", "313-46", "313-136", "313-137", "313-138", "431-01", "431-02", "431-04", "431-05"
)
async def test_a_room_is_read_by_its_occupants_as_it_was_said(deployment: Deployment) -> None:
    juliet, romeo = await occupants(deployment)
    said = [
        (await talk(juliet, "wherefore", "m1", extra=FORGED), "wherefore"),
        (await talk(romeo, "shall I hear more", "m2"), "shall I hear more"),
        (await talk(juliet, "good night, Roméo", "m3"), "good night, Roméo"),
    ]
    assert "forged" not in dict(said)
    assert "" not in dict(said)
    for reader in (juliet, romeo):
        found = await room_entries(reader)
        assert [(entry.id, body) for entry, body in zip(found, bodies(found), strict=True)] == said
        assert {entry.message.get("to") for entry in found} == {None}
        nicks = [entry.message.get("from") for entry in found]
        assert nicks == [f"{ROOM}/Juliet", f"{ROOM}/Romeo", f"{ROOM}/Juliet"]
        assert all(entry.message.findall("{urn:xmpp:occupant-id:0}occupant-id") for entry in found)
    of_romeo = await room_entries(juliet, form(field("with", f"{ROOM}/Romeo")))
    assert bodies(of_romeo) == ["shall I hear more"]
    first, second, third = (id_ for id_, _ in said)
    for wanted, ids in (
        (field("ids", third, first), [first, third]),
        (field("after-id", first), [second, third]),
        (field("before-id", third), [first, second]),
        (field("start", LONG_AGO), [first, second, third]),
        (field("end", LONG_AGO), []),
        (field(TEXT_FIELD, "shall Juliet"), []),
        (field(TEXT_FIELD, '"hear more"'), [second]),
        (field(TEXT_FIELD, "romeo"), [third]),
    ):
        assert [entry.id for entry in await room_entries(romeo, form(wanted))] == ids
    searched = form(
        field(TEXT_FIELD, "m*"), field("with", f"{ROOM}/Romeo"), field("after-id", first)
    )
    assert [entry.id for entry in await room_entries(romeo, searched)] == [second]
    answer = await romeo.ask(
        "set", query(form(field(TEXT_FIELD, "more*")), page("<max>0</max>")), to=ROOM
    )
    assert answer.findtext(f".//{tag(RSM, 'count')}") == "1"
    offered = await romeo.ask("get", query(), to=ROOM)
    assert TEXT_FIELD in {one.get("var") for one in offered.iter("{jabber:x:data}field")}
    info = await romeo.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to=ROOM)
    assert FULL_TEXT in {child.get("var") for child in info[0]}
    metadata = await romeo.ask("get", "<metadata xmlns='urn:xmpp:mam:2'/>", to=ROOM)
    ends = [child.get("id") for child in metadata[0]]
    assert ends == [said[0][0], said[-1][0]]
    assert await entries(juliet) == []
    kinds = [line["kind"] for line in await exported(deployment)]
    assert kinds == ["presence", "presence", "groupchat", "groupchat", "groupchat"]


async def exported(deployment: Deployment) -> list[dict[str, str]]:
    """Give the room's archive as an operator exports it."""
    command = Command(deployment.directory)
    command.settings = dict(deployment.settings)
    status, out, err = await command.run("export", ROOM, "--format", "jsonl")
    assert status == 0, err
    return [json.loads(line) for line in out.splitlines()]


async def test_who_may_not_read_a_room_learns_why_and_nothing_else(deployment: Deployment) -> None:
    juliet, romeo = await occupants(deployment)
    await talk(juliet, "a secret", "m1")
    nowhere = await romeo.ask("set", query(), to=f"nowhere@rooms.{HOST}")
    assert condition(nowhere) == "cancel/item-not-found"
    await configure(juliet, {"muc#roomconfig_passwordprotectedroom": "1"})
    assert bodies(await room_entries(romeo)) == ["a secret"]
    await affiliate(juliet, ROMEO, "outcast")
    for payload, kind in ((query(), "set"), ("<metadata xmlns='urn:xmpp:mam:2'/>", "get")):
        assert condition(await romeo.ask(kind, payload, to=ROOM)) == "auth/forbidden"
    prefs = await juliet.ask("get", "<prefs xmlns='urn:xmpp:mam:2'/>", to=ROOM)
    assert condition(prefs) == "cancel/service-unavailable"


@pytest.mark.requirement("313-139", "313-140")
async def test_a_real_jid_is_shown_only_if_the_room_showed_it_then_and_now(
    deployment: Deployment,
) -> None:
    juliet, romeo = await occupants(deployment)
    await talk(juliet, "hidden", "m1")
    await configure(juliet, {"muc#roomconfig_whois": "anyone"})
    await talk(juliet, "shown", "m2")
    assert [real_jid(e.message) for e in await room_entries(romeo)] == [None, JULIET]
    await configure(juliet, {"muc#roomconfig_whois": "moderators"})
    assert [real_jid(e.message) for e in await room_entries(romeo)] == [None, None]
    of_moderator = await room_entries(juliet)
    assert [real_jid(e.message) for e in of_moderator] == [JULIET, JULIET]
    of_romeo = await room_entries(romeo)
    assert JULIET not in "".join(ET.tostring(e.message, "unicode") for e in of_romeo)


RETRACT = "<retract xmlns='urn:xmpp:message-retract:1' id='{}'/>"
RETRACTED = "{urn:xmpp:message-retract:1}retracted"
OCCUPANT_ID = "{urn:xmpp:occupant-id:0}occupant-id"
MODERATED = "{urn:xmpp:message-moderate:1}moderated"


@pytest.mark.requirement("424-08", "424-09", "424-10", "424-11", "424-12")
@pytest.mark.requirement("425-01", "425-02", "425-03", "425-04", "425-05", "425-06", "425-07")
async def test_authors_and_moderators_retract_what_was_said_in_a_room(
    deployment: Deployment,
) -> None:
    juliet, romeo = await occupants(deployment)
    features = await romeo.ask(
        "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to=ROOM
    )
    assert "urn:xmpp:message-moderate:1" in ET.tostring(features, "unicode")
    rude, mine, fine = [await talk(romeo, f"text {n}", f"m{n}") for n in (1, 2, 3)]

    # Neither another occupant nor the id that a client chose, nor a forged announcement.
    forged = f"<retract xmlns='urn:xmpp:message-retract:1' id='{fine}'>"
    forged += "<moderated xmlns='urn:xmpp:message-moderate:1'/></retract>"
    tried = [(juliet, RETRACT.format(fine)), (romeo, RETRACT.format("m3")), (juliet, forged)]
    for number, (author, content) in enumerate(tried):
        await talk(author, "not to be", f"f{number}", extra=content)
    assert condition(await romeo.ask("set", moderation(fine), to=ROOM)) == "auth/forbidden"
    assert (
        condition(await juliet.ask("set", moderation("x" * 22), to=ROOM)) == "cancel/item-not-found"
    )
    assert bodies(await room_entries(juliet))[:3] == ["text 1", "text 2", "text 3"]

    await talk(romeo, "retracted", "r2", extra=RETRACT.format(mine))
    answer = await juliet.ask("set", moderation(rude, "rude &amp; loud"), to=ROOM)
    assert answer.get("type") == "result", ET.tostring(answer)
    await romeo.expect(lambda x: x.get("from") == ROOM and x.find(f".//{MODERATED}") is not None)
    for reader in (juliet, romeo):
        found = await room_entries(reader)
        assert [entry.id for entry in found[:3]] == [rude, mine, fine]
        assert bodies(found)[:3] == [None, None, "text 3"]
        moderated, own, _ = [entry.message.find(RETRACTED) for entry in found[:3]]
        assert own is not None
        assert (own.get("id"), own.get("by")) == ("r2", f"{ROOM}/Romeo")
        assert moderated is not None
        by = moderated.find(MODERATED)
        assert by is not None
        assert by.get("by") == f"{ROOM}/Juliet"
        assert by.find(OCCUPANT_ID) is not None
        assert moderated.findtext("{urn:xmpp:message-retract:1}reason") == "rude & loud"
        assert all(entry.message.find(OCCUPANT_ID) is not None for entry in found[:3])
        announcement = found[-1].message
        assert (announcement.get("from"), announcement.get("id")) == (ROOM, moderated.get("id"))

    await romeo.offline()
    late = await session(deployment, "romeo", "late")
    await join(late, "Romeo")
    history = late.found(lambda x: x.find("{urn:xmpp:delay}delay") is not None)
    told = [x.findtext(f"{CLIENT}body") for x in history]
    assert "text 3" in told
    assert not {"text 1", "text 2"} & set(told)


async def test_a_destroyed_room_is_erased_and_its_name_begins_anew(deployment: Deployment) -> None:
    juliet, romeo = await occupants(deployment)
    await talk(juliet, "before", "m1")
    for client, nick in ((romeo, "Romeo"), (juliet, "Juliet")):
        client.send_raw(f"<presence type='unavailable' to='{ROOM}/{nick}'/>")
        await client.expect(
            lambda x: x.tag == f"{CLIENT}presence" and x.get("type") == "unavailable"
        )
    assert condition(await juliet.ask("set", query(), to=ROOM)) == "cancel/item-not-found"
    juliet.received.clear()
    await join(juliet, "Juliet")
    await talk(juliet, "after", "m2")
    assert bodies(await room_entries(juliet)) == ["after"]


async def test_a_room_tells_its_history_after_a_crash_as_before(deployment: Deployment) -> None:
    juliet, romeo = await occupants(deployment)
    await configure(
        juliet,
        {"muc#roomconfig_persistentroom": "1", "muc#roomconfig_historylength": "5"},
    )
    for number in range(7):
        await talk(juliet if number % 2 else romeo, str(number), f"m{number}")
    late = await session(deployment, "juliet", "before")
    before = await told(late, "Juliet")
    await deployment.prosody.kill()
    await deployment.prosody.start()
    juliet = await session(deployment, "juliet", "after")
    assert await told(juliet, "Juliet") == before
    romeo = await session(deployment, "romeo", "after")
    await join(romeo, "Romeo")
    await talk(juliet, "live", "m7")
    another = await session(deployment, "romeo", "again")
    assert [body for _, body in await told(another, "Romeo")] == ["3", "4", "5", "6", "live"]


async def told(client: RawClient, nick: str) -> list[tuple[str, str]]:
    """Give the ids and texts of the history that a client gets when it enters the room."""
    await join(client, nick)
    history = client.found(lambda x: x.find("{urn:xmpp:delay}delay") is not None)
    assert {x.get("to") for x in history} == {client.boundjid.full}
    texts = [x.findtext(f"{CLIENT}body") or "" for x in history]
    return [
        (id_, body)
        for x, body in zip(history, texts, strict=True)
        for by, id_ in stanza_ids(x)
        if by == ROOM
    ]


async def test_a_librarys_own_plugins_read_a_room(deployment: Deployment) -> None:
    """Slixmpp's XEP-0045 and XEP-0313, unchanged."""
    juliet = await session(deployment, "juliet")
    for plugin in ("xep_0045", "xep_0313"):
        juliet.register_plugin(plugin)
    await juliet["xep_0045"].join_muc_wait(JID(ROOM), "Juliet", timeout=10)
    texts = [str(number) for number in range(12)]
    for number, text in enumerate(texts):
        await talk(juliet, text, f"m{number}")
    pages = juliet["xep_0313"].iterate(jid=JID(ROOM), rsm={"max": 5})
    found = [message["mam_result"]["forwarded"]["stanza"] async for message in pages]
    assert [message["body"] for message in found] == texts
    assert {message["from"].resource for message in found} == {"Juliet"}

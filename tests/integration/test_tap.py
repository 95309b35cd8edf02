"""What the tap archives, and which ids it announces, in a real Prosody."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest

from stanzalake.model import position
from stanzalake.model.event import MAX_EVENT, Tombstone, encode
from tests.support.clients import RawClient, parsed, stanza_ids
from tests.support.components import FakeIngest, privileged_message
from tests.support.server import HOST, JULIET, KEY, PASSWORD, ROMEO, Server, StartServer
from tests.support.wait import until

SID = "urn:xmpp:sid:0"
CARBON = "*/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
GATEWAY = f"irc.{HOST}"
ONE = f"{ROMEO}/one"
SEALER = position.Sealer([KEY])


class Scene(NamedTuple):
    """Juliet and Romeo online, and ingest."""

    server: Server
    ingest: FakeIngest
    juliet: RawClient
    romeo: RawClient

    async def archived(self, stanza: str) -> list[tuple[str, str]]:
        """Have Juliet send a stanza, and give (owner, direction) of the events that it made."""
        self.juliet.send_raw(stanza)
        await self.settle()
        made = [(e.owner, e.direction) for e in self.ingest.events if "mark='x'" in e.stanza]
        return sorted(made)

    async def settle(self) -> None:
        """Wait until ingest has everything that was sent before."""
        self.juliet.say(ROMEO, "settled", "settled")
        await self.ingest.arrival("settled", ROMEO)
        await self.ingest.arrival("settled", JULIET)


@pytest.fixture
async def scene(server: Server) -> AsyncIterator[Scene]:
    ingest = await server.ingest()
    await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    yield Scene(server, ingest, juliet, romeo)
    assert "Traceback" not in server.log
    assert "traceback" not in server.log


BOTH = [(JULIET, "out"), (ROMEO, "in")]


@pytest.mark.requirement("313-01", "313-04", "313-06", "313-16", "313-18")
async def test_a_message_is_an_event_for_each_of_the_two(scene: Scene) -> None:
    scene.juliet.say(ROMEO, "hi", "m1", "<thread>t</thread><x xmlns='urn:other' a='&quot;'/>")
    out = await scene.ingest.arrival("hi", JULIET)
    in_ = await scene.ingest.arrival("hi", ROMEO)
    assert (out.direction, out.peer, out.peer_resource) == ("out", ROMEO, "")
    assert (in_.direction, in_.peer, in_.peer_resource) == ("in", JULIET, "one")
    assert out.kind == in_.kind == "chat"
    assert out.position < in_.position
    assert not out.contact
    assert not in_.contact
    for event in (out, in_):
        message = parsed(event.stanza)
        assert message.tag == "{jabber:client}message"
        addresses = {"from": f"{JULIET}/one", "to": ROMEO, "type": "chat", "id": "m1"}
        assert addresses.items() <= message.attrib.items()
        assert message.findtext("{jabber:client}thread") == "t"
        other = message.find("{urn:other}x")
        assert other is not None
        assert other.get("a") == '"'
        assert stanza_ids(message) == []
    delivered = await scene.romeo.message("m1")
    assert stanza_ids(delivered) == [(ROMEO, SEALER.seal(ROMEO, in_.position))]


@pytest.mark.requirement("313-16")
async def test_every_character_arrives_as_it_was(scene: Scene) -> None:
    body = 'q" b\\ t\tn\n € 𝄞 \u202e \u2028 \x7f é'
    escaped = body.replace("&", "&amp;").replace("<", "&lt;")
    scene.juliet.say(ROMEO, escaped, "m1")
    await until(lambda: len(scene.ingest.events) == 2)
    for event in scene.ingest.events:
        assert parsed(event.stanza).findtext("{jabber:client}body") == body


ELIGIBLE = {
    "body": "<body>x</body>",
    "subject": "<subject>x</subject>",
    "store hint": "<store xmlns='urn:xmpp:hints'/>",
    "encrypted": "<encryption xmlns='urn:xmpp:eme:0' namespace='x'/>",
    "receipt": "<received xmlns='urn:xmpp:receipts' id='x'/>",
    "marker": "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>",
    "direct invitation": "<x xmlns='jabber:x:conference' jid='r@c'/>",
    "invitation": "<x xmlns='http://jabber.org/protocol/muc#user'><invite to='a@b'/></x>",
    "call 0": "<propose xmlns='urn:xmpp:jingle-message:0' id='x'/>",
    "call 1": "<propose xmlns='urn:xmpp:jingle-message:1' id='x'/>",
    "retraction": "<retract xmlns='urn:xmpp:message-retract:1' id='x'/>",
}


@pytest.mark.requirement("334-05", "313-120")
@pytest.mark.parametrize("name", ELIGIBLE)
async def test_what_is_worth_archiving_is(scene: Scene, name: str) -> None:
    stanza = f"<message to='{ROMEO}'><m xmlns='m' mark='x'/>{ELIGIBLE[name]}</message>"
    assert await scene.archived(stanza) == BOTH


RETRACT = "<retract xmlns='urn:xmpp:message-retract:1' id='{}'/>"


async def test_a_retraction_is_a_tombstone_for_each_of_the_two(scene: Scene) -> None:
    scene.juliet.send_raw(f"<message to='{ROMEO}' id='r1'>{RETRACT.format('a&amp;b')}</message>")
    private = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
    occupant = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='o1'/>"
    scene.juliet.send_raw(
        f"<message to='{ROMEO}' id='r2'>{RETRACT.format('p1')}{private}{occupant}</message>"
    )
    await scene.settle()
    tombstones = [e for e in scene.ingest.everything if isinstance(e, Tombstone)]
    out, in_, _, of_occupant = tombstones
    assert (out.owner, out.peer, out.direction) == (JULIET, ROMEO, "out")
    assert (in_.owner, in_.peer, in_.direction) == (ROMEO, JULIET, "in")
    for one in (out, in_):
        assert (one.message_id, one.by, one.retraction_id) == ("a&b", JULIET, "r1")
        assert (one.peer_resource, one.occupant_id, one.target) == ("", "", 0)
        [retraction] = [e for e in scene.ingest.events if e.owner == one.owner and "r1" in e.stanza]
        assert retraction.position < one.position
    assert (of_occupant.peer_resource, of_occupant.occupant_id) == ("one", "o1")
    assert of_occupant.by == f"{JULIET}/one"


@pytest.mark.parametrize(
    "stanza",
    [
        f"<message to='{ROMEO}' id='r'>{RETRACT.format('')}</message>",
        f"<message to='{ROMEO}' id='r'>{RETRACT.format('x' * 1024)}</message>",
        f"<message to='{ROMEO}' id='r'>{RETRACT.format('a&#9;b')}</message>",
        f"<message to='{ROMEO}' id='r'><retract xmlns='urn:xmpp:message-retract:1'/></message>",
        f"<message to='{ROMEO}'><body>x</body><f xmlns='f'>{RETRACT.format('m')}</f></message>",
        f"<message to='{ROMEO}/one' id='r' type='error'>{RETRACT.format('m')}</message>",
        f"<message to='{ROMEO}' id='r' type='headline'>{RETRACT.format('m')}</message>",
    ],
)
async def test_what_retracts_nothing_makes_no_tombstone(scene: Scene, stanza: str) -> None:
    scene.juliet.send_raw(stanza)
    await scene.settle()
    assert not [e for e in scene.ingest.everything if isinstance(e, Tombstone)]


HINT = "<{} xmlns='urn:xmpp:hints'/>"
INELIGIBLE = {
    "nothing": f"<message to='{ROMEO}'>@</message>",
    "chat state": f"<message to='{ROMEO}'><a xmlns='http://jabber.org/protocol/chatstates'/>@</message>",
    "headline": f"<message to='{ROMEO}' type='headline'><body>x</body>@</message>",
    "groupchat": f"<message to='{ROMEO}' type='groupchat'><body>x</body>@</message>",
    "no-store": f"<message to='{ROMEO}'><body>x</body>{HINT.format('no-store')}@</message>",
    "no-permanent-store": (
        f"<message to='{ROMEO}'><body>x</body>{HINT.format('no-permanent-store')}@</message>"
    ),
    "no-store and store": (
        f"<message to='{ROMEO}'>{HINT.format('store')}{HINT.format('no-store')}@</message>"
    ),
    "error to a bare JID": f"<message to='{ROMEO}' type='error'><body>x</body>@</message>",
    "a domain with a space": "<message to='romeo@a b'><body>x</body>@</message>",
    "an archive's result": (
        f"<message to='{ROMEO}'><body>x</body><result xmlns='urn:xmpp:mam:2' id='1'/>@</message>"
    ),
}


@pytest.mark.requirement("313-21", "334-01", "334-02", "334-08", "313-121", "313-122")
@pytest.mark.parametrize("name", INELIGIBLE)
async def test_what_is_not_worth_archiving_is_not(scene: Scene, name: str) -> None:
    stanza = INELIGIBLE[name].replace("@</", "<m xmlns='m' mark='x'/></")
    assert await scene.archived(stanza) == []


async def test_a_chat_with_a_domain_is_archived_in_both_directions(
    start_server: StartServer,
) -> None:
    server = await start_server(f'Component "{GATEWAY}"\ncomponent_secret = "{PASSWORD}"')
    await server.query()
    ingest, juliet = await server.ingest(), await server.client("juliet")
    bot = await server.component(GATEWAY, PASSWORD)
    juliet.say(GATEWAY, "ping", "m1")
    bot.send_raw(f"<message from='{GATEWAY}' to='{JULIET}' id='m2'><body>pong</body></message>")
    out, in_ = await ingest.arrival("ping", JULIET), await ingest.arrival("pong", JULIET)
    assert (out.direction, out.peer, out.peer_resource) == ("out", GATEWAY, "")
    assert (in_.direction, in_.peer, in_.peer_resource) == ("in", GATEWAY, "")
    assert stanza_ids(await juliet.message("m2")) == [(JULIET, SEALER.seal(JULIET, in_.position))]


async def test_a_chat_with_the_server_itself_is_archived(scene: Scene) -> None:
    stanza = f"<message to='{HOST}'><body>x</body><m xmlns='m' mark='x'/></message>"
    assert await scene.archived(stanza) == [(JULIET, "out")]


@pytest.mark.requirement("334-06")
async def test_an_error_to_a_resource_is_archived_whatever_its_hints(scene: Scene) -> None:
    stanza = (
        f"<message to='{ONE}' type='error'><m xmlns='m' mark='x'/>"
        "<no-store xmlns='urn:xmpp:hints'/></message>"
    )
    assert await scene.archived(stanza) == BOTH
    assert {e.kind for e in scene.ingest.events if "mark=" in e.stanza} == {"error"}


async def test_a_body_of_many_line_feeds_is_archived(start_server: StartServer) -> None:
    server = await start_server(extra_global="c2s_stanza_size_limit = 1000000")
    ingest, juliet = await server.ingest(), await server.client("juliet")
    body = "\n" * 400_000 + "end"
    juliet.say(ROMEO, body, "m1")
    await until(lambda: len(ingest.events) == 2)
    assert all(body in archived.stanza for archived in ingest.events)
    assert all(len(encode(archived)) < MAX_EVENT for archived in ingest.events)


async def test_another_module_may_decide_what_is_archived(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "mod_decider.lua").write_text(
        'module:hook("archive-should-store", function (event)\n'
        '\tif event.stanza:get_child("nothing", "urn:d") then return false; end\n'
        "end, 1);\n"
    )
    server = await start_server(modules=["stanzalake", "decider"], module_dirs=[tmp_path])
    ingest, juliet = await server.ingest(), await server.client("juliet")
    juliet.say(ROMEO, "dropped", "m1", "<nothing xmlns='urn:d'/>")
    juliet.say(ROMEO, "kept", "m2")
    await ingest.arrival("kept", ROMEO)
    assert {e.owner for e in ingest.events if "kept" in e.stanza} == {JULIET, ROMEO}
    assert not [e for e in ingest.events if "dropped" in e.stanza]


async def test_nobody_who_does_not_exist_has_an_archive(scene: Scene) -> None:
    stranger = f"mercutio@{HOST}"
    assert await scene.archived(
        f"<message to='{stranger}'><body>x</body><m xmlns='m' mark='x'/></message>"
    ) == [(JULIET, "out")]


async def test_an_unknown_type_is_normal(scene: Scene) -> None:
    scene.juliet.send_raw(f"<message to='{ROMEO}' type='odd'><body>hm</body></message>")
    assert (await scene.ingest.arrival("hm", ROMEO)).kind == "normal"


async def test_contacts_are_told_apart_whatever_their_subscription(scene: Scene) -> None:
    await scene.romeo.ask("set", f"<query xmlns='jabber:iq:roster'><item jid='{JULIET}'/></query>")
    scene.juliet.say(ROMEO, "hi", "m1")
    assert (await scene.ingest.arrival("hi", ROMEO)).contact
    assert not (await scene.ingest.arrival("hi", JULIET)).contact


async def test_contacts_of_an_absent_user_are_known(scene: Scene) -> None:
    await scene.romeo.ask("set", f"<query xmlns='jabber:iq:roster'><item jid='{JULIET}'/></query>")
    await scene.romeo.offline()
    scene.juliet.say(ROMEO, "hi", "m1")
    assert (await scene.ingest.arrival("hi", ROMEO)).contact


@pytest.mark.parametrize("to", [f" to='{JULIET}'", "", f" to='{JULIET}/two'"])
async def test_a_message_to_oneself_is_archived_once(scene: Scene, to: str) -> None:
    two = await scene.server.client("juliet", "two")
    scene.juliet.send_raw(f"<message{to} type='chat' id='m1'><body>note</body></message>")
    event = await scene.ingest.arrival("note", JULIET)
    await scene.settle()
    assert [e.owner for e in scene.ingest.events if ">note<" in e.stanza] == [JULIET]
    assert event.peer == JULIET
    assert parsed(event.stanza).get("to", "").startswith(JULIET)
    expected = [(JULIET, SEALER.seal(JULIET, event.position))]
    assert stanza_ids(await two.message("m1")) == expected


FORGED = "<stanza-id xmlns='urn:xmpp:sid:0' by='{}' id='forged'/>"


@pytest.mark.requirement(
    "359-04", "359-06", "359-07", "359-08", "359-09", "359-10", "359-14", "313-17", "313-81",
    "313-161",
)  # fmt: skip
async def test_forged_ids_go_and_others_stay(scene: Scene) -> None:
    others = (
        "<origin-id xmlns='urn:xmpp:sid:0' id='o'/>"
        + FORGED.format("someone@else.lit")
        + FORGED.format(f"{ROMEO}/one")
    )
    forged = FORGED.format(ROMEO) + FORGED.format("ROMEO@LocalHost")
    scene.juliet.send_raw(
        f"<message to='{ROMEO}' id='m1'>{forged}{others}<body>hi</body>{forged}</message>"
    )
    event = await scene.ingest.arrival("hi", ROMEO)
    real = (ROMEO, SEALER.seal(ROMEO, event.position))
    kept = [("someone@else.lit", "forged"), (f"{ROMEO}/one", "forged")]
    assert stanza_ids(parsed(event.stanza)) == kept
    delivered = await scene.romeo.message("m1")
    assert stanza_ids(delivered) == [*kept, real]
    assert delivered.find(f"{{{SID}}}origin-id") is not None


@pytest.mark.requirement("359-06")
async def test_forged_ids_go_from_what_is_not_archived(scene: Scene) -> None:
    scene.juliet.send_raw(
        f"<message to='{ROMEO}' id='m1'><active xmlns='http://jabber.org/protocol/chatstates'/>"
        f"{FORGED.format(ROMEO)}{FORGED.format(JULIET)}</message>"
    )
    assert stanza_ids(await scene.romeo.message("m1")) == []


@pytest.mark.requirement("313-19", "359-06")
async def test_the_senders_id_never_leaves(scene: Scene) -> None:
    # Only for another session of the sender is there an id that could leave.
    await scene.server.client("juliet", "two")
    scene.juliet.say(ROMEO, "hi", "m1", FORGED.format(JULIET))
    delivered = await scene.romeo.message("m1")
    assert [by for by, _ in stanza_ids(delivered)] == [ROMEO]
    event = await scene.ingest.arrival("hi", JULIET)
    assert stanza_ids(parsed(event.stanza)) == []


@pytest.mark.requirement("313-20")
async def test_carbons_carry_the_owners_id(scene: Scene) -> None:
    sent_to = await scene.server.client("juliet", "two")
    received_by = await scene.server.client("romeo", "two")
    scene.juliet.say(ONE, "hi", "m1")
    for client, owner in ((sent_to, JULIET), (received_by, ROMEO)):
        carbon = await client.expect(lambda x: x.find(CARBON) is not None)
        inner = carbon.find(CARBON)
        assert inner is not None
        event = await scene.ingest.arrival("hi", owner)
        assert stanza_ids(inner) == [(owner, SEALER.seal(owner, event.position))]


@pytest.mark.requirement("313-20")
async def test_a_carbon_of_a_gateways_message_carries_the_id_to_the_only_session(
    start_server: StartServer,
) -> None:
    server = await start_server(
        f'privileged_entities = {{ ["{GATEWAY}"] = {{ message = "outgoing" }} }}\n'
        f'Component "{GATEWAY}"\ncomponent_secret = "{PASSWORD}"\n'
        'modules_enabled = { "privilege" }',
        modules=["stanzalake", "privilege"],
    )
    await server.query()
    ingest, juliet = await server.ingest(), await server.client("juliet")
    gateway = await server.component(GATEWAY, PASSWORD)
    gateway.send_raw(privileged_message(GATEWAY, HOST, JULIET, ROMEO, "<body>typed there</body>"))
    event = await ingest.arrival("typed there", JULIET)
    carbon = await juliet.expect(lambda x: x.find(CARBON) is not None)
    inner = carbon.find(CARBON)
    assert inner is not None
    assert stanza_ids(inner) == [(JULIET, SEALER.seal(JULIET, event.position))]


@pytest.mark.requirement("359-16", "424-01", "424-02")
async def test_the_account_announces_what_it_does(scene: Scene) -> None:
    info = await scene.juliet.ask(
        "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to=JULIET
    )
    features = {x.get("var") for x in info.iter("{http://jabber.org/protocol/disco#info}feature")}
    mam = {"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:mam:2#groupchat-field"}
    assert {
        *mam,
        SID,
        "urn:xmpp:message-retract:1",
        "urn:xmpp:message-retract:1#tombstone",
        "urn:xmpp:fulltext:0",
        "urn:xmpp:inbox:1",
    } <= features


async def test_an_absent_users_message_waits_with_its_id_in_offline_storage(
    scene: Scene,
) -> None:
    await scene.romeo.offline()
    scene.juliet.say(ROMEO, "later", "m1")
    event = await scene.ingest.arrival("later", ROMEO)
    romeo = await scene.server.client("romeo")
    ids = stanza_ids(await romeo.message("m1"))
    assert ids == [(ROMEO, SEALER.seal(ROMEO, event.position))]


async def test_without_offline_storage_an_archived_message_does_not_bounce(
    start_server: StartServer,
) -> None:
    server = await start_server('modules_disabled = { "offline" }')
    await server.query()
    await (await server.client("romeo")).offline()
    ingest, juliet = await server.ingest(), await server.client("juliet")
    juliet.say(ROMEO, "later", "m1")
    await ingest.arrival("later", ROMEO)
    juliet.send_raw(f"<message to='{ROMEO}' id='m2'><a xmlns='urn:a'/></message>")
    await juliet.expect(lambda x: x.get("type") == "error" and x.get("id") == "m2")
    assert not juliet.found(lambda x: x.get("id") == "m1")


async def test_other_modules_hear_of_what_was_archived(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "mod_listener.lua").write_text(
        'module:hook("archive-message-added", function (event)\n'
        '\tmodule:log("info", "added %s %s %s %s", event.for_user, event.id,\n'
        '\t\tevent.stanza:get_child_text("body"), event.origin.type);\n'
        "end);\n"
    )
    server = await start_server(modules=["stanzalake", "listener"], module_dirs=[tmp_path])
    await server.query()
    ingest, juliet = await server.ingest(), await server.client("juliet")
    await server.client("romeo")
    juliet.say(ROMEO, "hi", "m1")
    for user, owner in (("juliet", JULIET), ("romeo", ROMEO)):
        event = await ingest.arrival("hi", owner)
        assert f"added {user} {SEALER.seal(owner, event.position)} hi c2s" in server.log


@pytest.mark.requirement("313-10", "313-145", "313-146")
async def test_positions_increase_and_ids_differ(scene: Scene) -> None:
    for number in range(200):
        scene.juliet.say(ROMEO, f"n{number}", f"m{number}")
    await scene.settle()
    positions = [e.position for e in scene.ingest.events]
    assert positions == sorted(set(positions))
    assert len(positions) == 402
    assert len(scene.ingest.batches) < 100
    now = position.to_milliseconds(positions[-1])
    assert now - position.to_milliseconds(positions[0]) < 60_000


LOAD_ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"id_keys": []}, "stanzalake_id_keys cannot be used"),
    "a short key": ({"id_keys": ["short"]}, "at least 32 characters"),
    "a wrong number": ({"options": "stanzalake_window = 'many'"}, "stanzalake_window cannot be"),
    "a number out of range": ({"options": "stanzalake_window = 0"}, "from 1 to 64"),
    "a wrong name": ({"query": []}, "stanzalake_query cannot be used"),
    "mod_mam": ({"modules": ["stanzalake", "mam"]}, "takes the place of mod_mam"),
}


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        (
            '"gateway.{}" "proxy65"\nmodules_enabled = {{ "stanzalake" }}',
            "it belongs to a VirtualHost",
        ),
        (
            '"rooms.{}" "muc"\nmodules_enabled = {{ "stanzalake", "muc_mam" }}',
            "place of mod_muc_mam",
        ),
        (
            '"rooms.{}" "muc"\nmodules_enabled = {{ "stanzalake", "muc_moderation" }}',
            "place of mod_muc_moderation",
        ),
    ],
)
async def test_it_refuses_to_load_on_a_component_that_it_does_not_serve(
    start_server: StartServer, section: str, reason: str
) -> None:
    server = await start_server(f"Component {section.format(HOST)}\n")
    await until(lambda: reason in server.log)
    ingest, juliet = await server.ingest(), await server.client("juliet")
    juliet.say(ROMEO, "hi", "m1")
    await ingest.arrival("hi", ROMEO)


@pytest.mark.parametrize("name", LOAD_ERRORS)
async def test_it_refuses_to_load_with_a_clear_error(start_server: StartServer, name: str) -> None:
    arguments, message = LOAD_ERRORS[name]
    server = await start_server(**arguments)
    await until(lambda: message in server.log)
    juliet = await server.client("juliet")
    info = await juliet.ask(
        "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to=JULIET
    )
    assert "mam" in name or "urn:xmpp:mam:2" not in ET.tostring(info, "unicode")
    assert KEY not in server.log

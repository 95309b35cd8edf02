"""Stanzas of other archives become the events that our tap would have written."""

import json
import subprocess
from contextlib import suppress
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from stanzalake.errors import InvalidEvent
from stanzalake.importer.source import ArchivedMessage
from stanzalake.importer.stanza import to_event
from stanzalake.model.event import MAX_STANZA, Message
from tests.support.events import JULIET, ROMEO
from tests.support.stanzas import REFUSED, UNSERIALISABLE

POSITION = 117650718720000000
BODY = "<body>hello &lt;there&gt; \U0001f382</body>"
ACTIVE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
HEAD = f"<message from='{ROMEO}/orchard' to='{JULIET}/balcony' type='chat' id='m' xml:lang='en'>"

SCRIPT = """
package.path = "/usr/lib/prosody/?.lua;"..package.path
package.cpath = "/usr/lib/prosody/?.so;"..package.cpath
local st = require "util.stanza"
local attributes = { from = arg[1], to = arg[2], type = "chat", ["xml:lang"] = "en" }
local stanza = st.message(attributes, "a <b> & \\u{1f382}")
    :tag("x", { xmlns = "urn:x", ["urn:attr\\1at"] = "v" })
        :tag("y"):text("one"):tag("z"):up():text("two"):up():up()
print(require "util.json".encode(st.preserialize(stanza)))
"""


def archived(stanza: str, **changes: Any) -> ArchivedMessage:
    return ArchivedMessage(JULIET, "old-1", 0, "", "xml", stanza, "line 1")._replace(**changes)


def message(stanza: str, **changes: Any) -> Message:
    found = to_event(archived(stanza, **changes), POSITION, DEFAULT_EXCLUSIONS)
    assert found is not None
    return found


def test_a_missing_namespace_is_that_of_the_stream() -> None:
    found = message(f"{HEAD}{BODY}<x xmlns='urn:x'/></message>")
    assert found.stanza == (
        f"<message xmlns='jabber:client'{HEAD.removeprefix('<message')}{BODY}<x xmlns='urn:x'/>"
        "</message>"
    )
    assert (found.owner, found.position, found.kind) == (JULIET, POSITION, "chat")


def test_a_stanza_with_a_namespace_stays_byte_for_byte() -> None:
    text = f"<message xmlns='jabber:client' to='{JULIET}'  >{BODY}</message>"
    assert message(text).stanza == text


@pytest.mark.parametrize(
    ("head", "direction", "peer", "resource"),
    [
        (f"from='{ROMEO}/orchard' to='{JULIET}'", "in", ROMEO, "orchard"),
        (f"from='{ROMEO}' to='{JULIET}/balcony'", "in", ROMEO, ""),
        (f"from='{JULIET}/balcony' to='{ROMEO}/a/b'", "out", ROMEO, "a/b"),
        (f"from='{JULIET}/balcony'", "out", JULIET, ""),
        (f"to='{ROMEO}'", "out", ROMEO, ""),
    ],
)
def test_peer_and_direction_follow_from_the_addresses(
    head: str, direction: str, peer: str, resource: str
) -> None:
    found = message(f"<message {head}>{BODY}</message>")
    assert (found.direction, found.peer, found.peer_resource) == (direction, peer, resource)


def test_the_peer_in_the_source_takes_precedence() -> None:
    assert message(f"{HEAD}{BODY}</message>", peer="room@chat.lit").peer == "room@chat.lit"


@pytest.mark.parametrize(
    ("written", "kind"),
    [("", "normal"), ("type='error'", "error"), ("type='nonsense'", "normal")],
)
def test_the_kind_is_the_stanza_type(written: str, kind: str) -> None:
    assert message(f"<message from='{ROMEO}' {written}>{BODY}</message>").kind == kind


def test_excluded_elements_are_not_imported() -> None:
    assert ACTIVE not in message(f"{HEAD}{BODY}{ACTIVE}</message>").stanza
    assert to_event(archived(f"{HEAD}{ACTIVE}</message>"), POSITION, DEFAULT_EXCLUSIONS) is None


def test_only_stanza_ids_by_the_owner_are_removed() -> None:
    own, other = (f"<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='1'/>" for by in (JULIET, ROMEO))
    found = ET.fromstring(message(f"{HEAD}{own}{BODY}{other}</message>").stanza)  # noqa: S314
    assert [x.get("by") for x in found.findall("{urn:xmpp:sid:0}stanza-id")] == [ROMEO]


def test_prosodys_preserialised_json_is_the_same_stanza() -> None:
    command = ["lua5.4", "-e", f"arg = {{ {ROMEO + '/a'!r}, {JULIET!r} }} {SCRIPT}"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    found = ET.fromstring(message(text, form="json").stanza)  # noqa: S314
    assert found.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"
    assert found.findtext("{jabber:client}body") == "a <b> & \U0001f382"
    x = found.find("{urn:x}x")
    assert x is not None
    assert x.get("{urn:attr}at") == "v"
    assert [*map(str, x.itertext())] == ["one", "two"]
    assert [child.tag for child in x.iter()] == ["{urn:x}x", "{urn:x}y", "{urn:x}z"]


@pytest.mark.parametrize(
    "stanza",
    [
        "",
        "<message",
        "<message><body>&lol;</body></message>",
        "<!DOCTYPE message [<!ENTITY lol 'lol'>]><message><body>&lol;</body></message>",
        "<message><?php evil ?><body/></message>",
        *(f"{HEAD}{BODY}{markup}</message>" for markup in (REFUSED | UNSERIALISABLE).values()),
        "<presence/>",
        "<message xmlns='jabber:server' from='a@b'><body/></message>",
        "<message from='a b@c'><body/></message>",
        f"<message from='{ROMEO}'><body>{'x' * MAX_STANZA}</body></message>",
        f"<?xml version='1.0' encoding='utf-7'?><message from='{ROMEO}'><body/></message>",
    ],
)
def test_invalid_stanzas_are_refused_without_quoting_them(stanza: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        message(stanza)
    assert "lol" not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"name": "message"},
        {"name": "message", "attr": [1]},
        {"name": "message", "attr": {"id": 1}},
        {"name": "message", "attr": {}, "__array": [1]},
        {"name": "message", "attr": {}, "__array": ["\0"]},
        {"name": "mess age", "attr": {}},
        {"name": "iq", "attr": {}},
    ],
)
def test_json_that_is_not_a_stanza_is_refused(value: object) -> None:
    with pytest.raises(InvalidEvent):
        message(json.dumps(value), form="json")


@given(st.text() | st.text(alphabet="<>/'\"={}[]:, \1amnpx&;"), st.sampled_from(["xml", "json"]))
def test_any_text_is_a_message_or_is_refused(text: str, form: str) -> None:
    for stanza in (text, f"{HEAD}{text}</message>"):
        with suppress(InvalidEvent):
            to_event(archived(stanza, form=form), POSITION, DEFAULT_EXCLUSIONS)


ROOM = "hall@rooms.capulet.lit"
IDENTITY = "<x xmlns='http://jabber.org/protocol/muc#user'><item jid='{}'/></x>"
TRICKY = "<message id=\"x to='me'\" to='{}/a' from='{}/Nick' type='groupchat'>"


def test_a_rooms_message_is_of_its_occupant_and_has_no_addressee() -> None:
    head = TRICKY.format(JULIET, ROOM)
    made_up, real = IDENTITY.format("tybalt@capulet.lit"), IDENTITY.format(f"{ROMEO}/orchard")
    found = message(f"{head}{BODY}{made_up}{real}</message>", owner=ROOM)
    assert (found.peer, found.peer_resource) == (ROOM, "Nick")
    assert (found.kind, found.direction, found.occupant) == ("groupchat", "in", ROMEO)
    assert found.is_of_room
    kept = ET.fromstring(found.stanza)  # noqa: S314  # written above
    assert kept.attrib == {"id": "x to='me'", "from": f"{ROOM}/Nick", "type": "groupchat"}
    assert "tybalt" not in found.stanza
    assert real in found.stanza


def test_a_rooms_message_may_still_be_addressed_to_the_room() -> None:
    head = f"<message type='groupchat' from='{ROOM}/Nick' to='{ROOM}'>"
    found = message(f"{head}{BODY}</message>", owner=ROOM)
    assert found.is_of_room
    assert (found.peer_resource, found.direction) == ("Nick", "in")
    assert " to=" not in found.stanza


@pytest.mark.parametrize(
    "presence",
    [
        f"<presence from='{ROOM}/Nick'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
        f"<presence type='unavailable' from='{ROOM}/Nick'/>",
    ],
)
def test_who_joined_and_left_a_room_is_kept_as_the_tap_keeps_it(presence: str) -> None:
    found = message(presence, owner=ROOM)
    assert (found.owner, found.peer, found.peer_resource) == (ROOM, ROOM, "Nick")
    assert (found.kind, found.direction, found.occupant) == ("presence", "in", "")
    assert found.stanza == presence.replace("<presence", "<presence xmlns='jabber:client'")
    with pytest.raises(InvalidEvent):
        message(presence.replace(ROOM, "yard@rooms.capulet.lit"), owner=ROOM)


def test_a_rooms_message_of_an_unknown_author_is_kept() -> None:
    found = message(f"{TRICKY.format(JULIET, ROOM)}{BODY}</message>", owner=ROOM)
    assert found.occupant == ""
    of_account = message(f"{HEAD}{BODY}{IDENTITY.format(ROMEO)}</message>")
    assert not of_account.is_of_room
    assert f"to='{JULIET}/balcony'" in of_account.stanza


def test_what_an_account_said_in_a_room_is_no_message_of_a_room_of_that_name() -> None:
    said = f"<message type='groupchat' from='{JULIET}/balcony' to='{ROOM}'>{BODY}</message>"
    found = message(said, owner=JULIET)
    assert not found.is_of_room
    assert (found.peer, found.direction) == (ROOM, "out")
    assert f"to='{ROOM}'" in found.stanza


def test_what_ends_no_tag_is_escaped_in_attributes() -> None:
    found = message(f"{HEAD}<body to=\">\" id='a>b'>c</body></message>")
    assert "<body to=\"&gt;\" id='a&gt;b'>c</body>" in found.stanza

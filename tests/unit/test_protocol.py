"""Requests of the module, and how they are refused."""

import base64
from typing import Any

import msgspec
import pytest

from query import protocol
from query.errors import StanzaError
from query.request import Reply, Result, RoomAnchor, RoomEntry
from stanzalake.doctor.prosody import MIN_STANZA_LIMIT
from stanzalake.xmpp import frames
from stanzalake.xmpp.frames import Frame
from stanzalake.xmpp.namespaces import CLIENT
from tests.support.events import JULIET
from tests.support.queries import BALCONY, HOST, answered, carried, forwarded, parsed, query


def test_all_fields_of_a_request_are_read() -> None:
    outer = forwarded(query(), position=9, stable=False, watermarks="3:12 7:98", newest=8)
    request = protocol.open_request(outer).request
    assert (request.host, request.owner, request.requester) == (HOST, JULIET, BALCONY)
    assert (request.position, request.stable, request.newest) == (9, False, 8)
    assert request.watermarks == {3: 12, 7: 98}
    assert request.take_payload().get("queryid") == "f27"


def test_the_rooms_of_a_requested_inbox_are_read() -> None:
    entry = RoomEntry("hall@rooms.capulet.lit", "id", 7, 3)
    anchors = {"id": RoomAnchor(entry.jid, entry.position)}
    displayed = {entry.jid: "id"}
    outer = forwarded(
        query(),
        rooms=[msgspec.to_builtins(entry)],
        anchors=msgspec.to_builtins(anchors),
        displayed=displayed,
    )
    request = protocol.open_request(outer).request
    assert (request.rooms, request.anchors, request.displayed) == ([entry], anchors, displayed)


HEADERS = [
    {"owner": "juliet@evil.example"},
    {"owner": HOST},
    {"owner": 5},
    {"asker": None},
    {"asker": f"{JULIET}/orchard"},
    {"newest": -1},
    {"newest": 2**64},
    {"newest": "7"},
    {"watermarks": "x"},
    {"watermarks": "3:99999999999999999999"},
    {"stable": "no"},
]


@pytest.mark.parametrize("header", HEADERS, ids=str)
def test_an_invalid_header_is_a_bad_request(header: dict[str, Any]) -> None:
    with pytest.raises(StanzaError, match="bad-request"):
        protocol.open_request(forwarded(query(), **header))


IQS = [
    "<iq/>",
    f"<message xmlns='{CLIENT}' type='set' id='1' from='{BALCONY}'/>",
    f"<iq xmlns='jabber:server' type='set' id='1' from='{BALCONY}'/>",
    f"<iq xmlns='{CLIENT}' type='result' id='1' from='{BALCONY}'/>",
    f"<iq xmlns='{CLIENT}' type='set' from='{BALCONY}'/>",
    f"<iq xmlns='{CLIENT}' type='set' id='1'/>",
    f"<!DOCTYPE iq><iq xmlns='{CLIENT}' type='set' id='1' from='{BALCONY}'/>",
]


@pytest.mark.parametrize("iq", IQS)
def test_an_invalid_iq_is_a_bad_request(iq: str) -> None:
    with pytest.raises(StanzaError, match="bad-request"):
        protocol.open_request(forwarded(query(), iq=iq))


@pytest.mark.parametrize("payload", ["<x xmlns='a}b'/>", "<x a='1' a='2'/>", "<x"])
def test_an_iq_that_elementtree_refuses_is_a_bad_request_of_its_user(payload: str) -> None:
    """B3: Prosody takes a brace in a namespace; nobody else notices."""
    envelope = protocol.open_request(forwarded(payload, id="q1"))
    with pytest.raises(StanzaError, match="bad-request"):
        envelope.request.take_payload()
    [frame] = answered(map(parsed, envelope.seal(Reply("error", ""))))
    reply = parsed(frame.content.decode())
    assert (reply.get("id"), reply.get("to"), reply.get("type")) == ("q1", BALCONY, "error")


HEADER = frames.write([Frame("request", f'{{"owner":"{JULIET}","asker":"{BALCONY}"}}'.encode())])


@pytest.mark.parametrize(
    "data", [b"", b"x", HEADER, HEADER[:-1], HEADER + HEADER, b"request 0 2\n[]", b"iq 0 0\n"]
)
def test_an_unreadable_request_is_a_bad_request(data: bytes) -> None:
    with pytest.raises(StanzaError, match="bad-request"):
        protocol.open_request(carried(data))


def test_a_request_over_the_limit_is_a_bad_request() -> None:
    outer = forwarded(query("<a/>" * protocol.MAX_REQUEST))
    with pytest.raises(StanzaError, match="bad-request"):
        protocol.open_request(outer)


def test_an_answer_over_the_limit_is_an_error_for_the_user() -> None:
    envelope = protocol.open_request(forwarded(query()))
    too_much = [Result(n, "x" * (protocol.MAX_ANSWER // 4)) for n in range(5)]
    [outer] = envelope.seal(Reply("result", "<fin/>", too_much))
    [frame] = answered([parsed(outer)])
    assert b"resource-constraint" in frame.content


def test_a_part_fits_the_limit_that_check_asks_for() -> None:
    part = len(base64.b64encode(b"x" * protocol.PART_BYTES))
    assert part + 1024 < MIN_STANZA_LIMIT < 512 * 1024


def test_an_answer_has_no_markup_of_the_user() -> None:
    envelope = protocol.open_request(forwarded(query()))
    [outer] = envelope.seal(Reply("result", "<fin/>", [Result(1, "<x xmlns='a}b'/>")]))
    [answer] = parsed(outer)
    assert len(answer) == 0
    assert answer.attrib == {"part": "1", "of": "1"}

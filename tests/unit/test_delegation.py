"""The envelopes between a host and the query service."""

from xml.etree.ElementTree import Element

import pytest

from query.delegation import open_request, seal_answer, seal_message
from query.errors import StanzaError
from stanzalake.xmpp.namespaces import CLIENT, DELEGATION, FORWARD, STAMP
from tests.support.events import JULIET
from tests.support.queries import BALCONY, COMPONENT, HOST, envelope, parsed, query


def refusal(outer: Element) -> str:
    with pytest.raises(StanzaError) as raised:
        open_request(outer).payload()
    return raised.value.condition


@pytest.mark.requirement("313-13", "355-09")
@pytest.mark.parametrize("to", ["", JULIET])
def test_an_owner_may_ask_her_own_archive(to: str) -> None:
    request = open_request(envelope(query(), to=to))
    assert (request.owner, request.requester, request.kind) == (JULIET, BALCONY, "set")
    assert request.payload().get("queryid") == "f27"
    assert request.stable


@pytest.mark.requirement("313-154", "313-155", "313-156", "355-08", "355-31", "30-06")
@pytest.mark.parametrize(
    ("requester", "to"),
    [
        (BALCONY, "romeo@capulet.lit"),
        (BALCONY, "nobody@capulet.lit"),
        (BALCONY, HOST),
        (BALCONY, BALCONY),
        (BALCONY, "JULIET@capulet.lit"),
        ("romeo@montague.lit/orchard", JULIET),
        ("romeo@montague.lit/orchard", ""),
        ("juliet@capulet.lit.evil.example/x", ""),
        ("capulet.lit/x", ""),
        ("@capulet.lit/x", ""),
        (JULIET, ""),
        (f"{JULIET}/", ""),
        (HOST, ""),
        ("x@juliet@capulet.lit/balcony", ""),
    ],
)
def test_no_one_may_ask_an_archive_that_is_not_theirs(requester: str, to: str) -> None:
    assert refusal(envelope(query(), requester=requester, to=to)) == "forbidden"


@pytest.mark.requirement("RFC-02")
@pytest.mark.parametrize("payload", ["", "text", query() + query()])
def test_a_request_has_one_payload(payload: str) -> None:
    assert refusal(envelope(payload)) == "bad-request"


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "<message xmlns='jabber:client' type='set' id='q1' from='a@capulet.lit/r'/>",
        "<iq xmlns='jabber:server' type='set' id='q1' from='a@capulet.lit/r'/>",
        "<iq xmlns='jabber:client' type='result' id='q1' from='a@capulet.lit/r'/>",
        "<iq xmlns='jabber:client' type='error' id='q1' from='a@capulet.lit/r'/>",
        "<iq xmlns='jabber:client' id='q1' from='a@capulet.lit/r'/>",
        "<iq xmlns='jabber:client' type='set' from='a@capulet.lit/r'/>",
        "<iq xmlns='jabber:client' type='set' id='q1'/>",
    ],
)
def test_an_envelope_without_a_request_is_a_bad_request(inner: str) -> None:
    outer = parsed(
        f"<iq><delegation xmlns='{DELEGATION}'><forwarded xmlns='{FORWARD}'>{inner}"
        "</forwarded></delegation></iq>"
    )
    with pytest.raises(StanzaError, match="bad-request"):
        open_request(outer)


@pytest.mark.parametrize(
    ("attributes", "stable"),
    [
        ("position='7'", True),
        ("position='7' stable='true'", True),
        ("stable='false' position='1'", False),
    ],
)
def test_the_host_may_say_that_events_are_missing(attributes: str, stable: bool) -> None:
    stamp = f"<stamp xmlns='{STAMP}' {attributes}/>"
    assert open_request(envelope(query(), extra=stamp)).stable is stable


@pytest.mark.parametrize(
    ("attributes", "ends"),
    [("", {}), ("ends=''", {}), ("ends='3:1234'", {3: 1234}), ("ends='0:5 11:7'", {0: 5, 11: 7})],
)
def test_the_host_may_say_where_the_events_are(attributes: str, ends: dict[int, int]) -> None:
    stamp = f"<stamp xmlns='{STAMP}' position='7' {attributes}/>"
    assert open_request(envelope(query(), extra=stamp)).watermarks == ends


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        "position='x'",
        "position='-1'",
        "position='18446744073709551616'",
        "position='7' ends='x'",
        "position='7' ends='3'",
        "position='7' ends='3:'",
        "position='7' ends='3:-4'",
        "position='7' ends='3:1,4:1'",
        "position='7' ends='3:99999999999999999999'",
    ],
)
def test_a_stamp_that_makes_no_sense_is_a_bad_request(attributes: str) -> None:
    with pytest.raises(StanzaError, match="bad-request"):
        open_request(envelope(query(), extra=f"<stamp xmlns='{STAMP}' {attributes}/>"))


@pytest.mark.requirement("355-10", "355-11", "355-12", "355-13", "355-14", "114-05", "114-07")
@pytest.mark.parametrize("to", ["", JULIET])
def test_an_answer_has_exactly_the_shape_that_hosts_take(to: str) -> None:
    request = open_request(envelope(query(), to=to))
    assert seal_answer(request, "result", "<fin/>") == (
        f'<iq type="result" id="X1" from="{COMPONENT}" to="{HOST}">'
        f'<delegation xmlns="{DELEGATION}"><forwarded xmlns="{FORWARD}">'
        f'<iq xmlns="{CLIENT}" type="result" id="q1" from="{JULIET}" to="{BALCONY}"><fin/></iq>'
        "</forwarded></delegation></iq>"
    )


@pytest.mark.requirement("355-17", "355-18", "RFC-03")
def test_an_error_for_the_user_travels_in_an_outer_result() -> None:
    request = open_request(envelope(query(), to="romeo@capulet.lit"))
    outer = parsed(seal_answer(request, "error", StanzaError("forbidden").markup()))
    [[[inner]]] = outer
    assert (outer.get("type"), inner.get("type")) == ("result", "error")
    assert (inner.get("from"), inner.get("to")) == ("romeo@capulet.lit", BALCONY)


@pytest.mark.requirement("313-86", "356-04", "356-05", "356-07", "280-02")
def test_a_message_is_sent_in_the_owners_name_under_an_id_of_its_own() -> None:
    request = open_request(envelope(query()))
    outer, other = (parsed(seal_message(request, "<result/>")) for _ in range(2))
    [[[inner]]] = outer
    assert (outer.get("from"), outer.get("to")) == (COMPONENT, HOST)
    assert (inner.get("from"), inner.get("to")) == (JULIET, BALCONY)
    assert inner.tag == f"{{{CLIENT}}}message"
    assert inner.get("type") is None
    assert [child.tag for child in inner] == [f"{{{CLIENT}}}result"]
    assert outer.get("id") != other.get("id")


def test_what_the_user_wrote_is_escaped() -> None:
    outer = envelope(query(), requester="juliet@capulet.lit/&lt;&quot;&apos;&#10;&amp;")
    outer[0][0][0].set("id", "\"'<>&\t")
    [[[inner]]] = parsed(seal_answer(open_request(outer), "result", ""))
    assert inner.get("id") == "\"'<>&\t"
    assert inner.get("to") == "juliet@capulet.lit/<\"'\n&"

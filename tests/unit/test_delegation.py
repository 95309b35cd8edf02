"""The envelopes between a host and the query service."""

from xml.etree.ElementTree import Element

import pytest

from query.delegation import open_request
from query.errors import StanzaError
from query.request import Reply, Result
from stanzalake.xmpp.namespaces import CLIENT, DELEGATION, FORWARD
from tests.support.events import JULIET
from tests.support.queries import BALCONY, COMPONENT, HOST, envelope, parsed, query


def refusal(outer: Element) -> str:
    with pytest.raises(StanzaError) as raised:
        open_request(outer).request.take_payload()
    return raised.value.condition


@pytest.mark.requirement("313-13", "355-09")
@pytest.mark.parametrize("to", ["", JULIET])
def test_an_owner_may_ask_her_own_archive(to: str) -> None:
    request = open_request(envelope(query(), to=to)).request
    assert (request.owner, request.requester, request.kind) == (JULIET, BALCONY, "set")
    assert request.take_payload().get("queryid") == "f27"
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


@pytest.mark.requirement("355-10", "355-11", "355-12", "355-13", "355-14", "114-05", "114-07")
@pytest.mark.parametrize("to", ["", JULIET])
def test_an_answer_has_exactly_the_shape_that_hosts_take(to: str) -> None:
    [answer] = open_request(envelope(query(), to=to)).seal(Reply("result", "<fin/>"))
    assert answer == (
        f'<iq type="result" id="X1" from="{COMPONENT}" to="{HOST}">'
        f'<delegation xmlns="{DELEGATION}"><forwarded xmlns="{FORWARD}">'
        f'<iq xmlns="{CLIENT}" type="result" id="q1" from="{JULIET}" to="{BALCONY}"><fin/></iq>'
        "</forwarded></delegation></iq>"
    )


def sealed(outer: Element, reply: Reply) -> list[Element]:
    return [parsed(stanza) for stanza in open_request(outer).seal(reply)]


@pytest.mark.requirement("355-17", "355-18", "RFC-03")
def test_an_error_for_the_user_travels_in_an_outer_result() -> None:
    error = Reply("error", StanzaError("forbidden").markup())
    [outer] = sealed(envelope(query(), to="romeo@capulet.lit"), error)
    [[[inner]]] = outer
    assert (outer.get("type"), inner.get("type")) == ("result", "error")
    assert (inner.get("from"), inner.get("to")) == ("romeo@capulet.lit", BALCONY)


@pytest.mark.requirement("313-86", "356-04", "356-05", "356-07", "280-02")
def test_a_message_is_sent_in_the_owners_name_under_an_id_of_its_own() -> None:
    page = Reply("result", "<fin/>", [Result(1, "<result/>"), Result(2, "<result/>")])
    outer, other, _ = sealed(envelope(query()), page)
    [[[inner]]] = outer
    assert (outer.get("from"), outer.get("to")) == (COMPONENT, HOST)
    assert (inner.get("from"), inner.get("to")) == (JULIET, BALCONY)
    assert inner.tag == f"{{{CLIENT}}}message"
    assert inner.get("type") is None
    assert [child.tag for child in inner] == [f"{{{CLIENT}}}result"]
    assert outer.get("id") != other.get("id")


def test_text_of_the_user_is_escaped() -> None:
    outer = envelope(query(), requester="juliet@capulet.lit/&lt;&quot;&apos;&#10;&amp;")
    outer[0][0][0].set("id", "\"'<>&\t")
    [[[[inner]]]] = sealed(outer, Reply("result", ""))
    assert inner.get("id") == "\"'<>&\t"
    assert inner.get("to") == "juliet@capulet.lit/<\"'\n&"

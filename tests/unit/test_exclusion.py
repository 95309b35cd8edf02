"""Exclusion: direct children of excluded namespaces are never stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from stanzalake.errors import InvalidEvent
from stanzalake.xmpp.stanza import strip
from tests.support.events import stanza

ACTIVE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
PROPOSE = "<propose xmlns='urn:xmpp:jingle-message:0' id='1'><x xmlns='y'/></propose>"
EMPTY = "<message xmlns='jabber:client' to='a@b'>{}</message>"


def names(text: str | None) -> list[str]:
    assert text is not None
    return [etree.QName(child).localname for child in etree.fromstring(text)]


@pytest.mark.requirement("313-04", "313-05", "297-03")
def test_a_stanza_without_excluded_children_is_unchanged() -> None:
    text = stanza(children="<x xmlns='other'  a = 'b' >\n</x >")
    assert strip(text, DEFAULT_EXCLUSIONS) == text


@pytest.mark.requirement("297-02", "313-127")
def test_excluded_children_are_removed_and_the_rest_stays() -> None:
    text = stanza("hi", f"{ACTIVE}<thread>t</thread>{PROPOSE}")
    stored = strip(text, DEFAULT_EXCLUSIONS)
    assert names(stored) == ["body", "thread"]
    assert stored is not None
    assert etree.fromstring(stored).attrib == etree.fromstring(text).attrib


def test_a_stanza_without_any_other_child_is_not_stored() -> None:
    assert strip(EMPTY.format(ACTIVE + PROPOSE), DEFAULT_EXCLUSIONS) is None
    assert strip(EMPTY.format(ACTIVE + "\n text"), DEFAULT_EXCLUSIONS) is None
    assert strip(EMPTY.format(""), DEFAULT_EXCLUSIONS) is None


def test_only_direct_children_are_removed() -> None:
    text = stanza(children=f"<forwarded xmlns='urn:xmpp:forward:0'>{ACTIVE}</forwarded>")
    assert strip(text, DEFAULT_EXCLUSIONS) == text


def test_a_child_is_matched_by_namespace_not_prefix() -> None:
    text = stanza(children="<c:active xmlns:c='http://jabber.org/protocol/chatstates'/>")
    assert names(strip(text, DEFAULT_EXCLUSIONS)) == ["body"]


def test_an_excluded_namespace_in_a_text_changes_nothing() -> None:
    text = stanza("http://jabber.org/protocol/chatstates")
    assert strip(text, DEFAULT_EXCLUSIONS) == text


def test_text_around_a_removed_child_stays() -> None:
    text = EMPTY.format(f"a{ACTIVE}b<body>c</body>d{ACTIVE}e")
    stored = strip(text, DEFAULT_EXCLUSIONS)
    assert stored is not None
    assert etree.fromstring(stored).xpath("string()") == "abcde"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "<message/>",
        "<message xmlns='jabber:client'><body></message>",
        "<presence xmlns='jabber:client'/>",
        "<!DOCTYPE m [<!ENTITY x 'y'>]><message xmlns='jabber:client'><body>&x;</body></message>",
        "<message xmlns='jabber:client'><!-- --><body/></message>",
        "<message xmlns='jabber:client'><?php ?><body/></message>",
        "<message xmlns='jabber:client'/><message xmlns='jabber:client'/>",
        "<message xmlns='jabber:client'>" + "<a>" * 5000 + "</a>" * 5000 + "</message>",
    ],
)
def test_anything_but_a_message_is_invalid(text: str) -> None:
    with pytest.raises(InvalidEvent):
        strip(text, DEFAULT_EXCLUSIONS)


@given(st.text())
def test_arbitrary_text_is_invalid(text: str) -> None:
    with pytest.raises(InvalidEvent):
        strip(text, DEFAULT_EXCLUSIONS)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30))
def test_an_arbitrary_body_is_unchanged(body: str) -> None:
    text = stanza(body.replace("&", "&amp;").replace("<", "&lt;"), ACTIVE)
    try:
        stored = strip(text, DEFAULT_EXCLUSIONS)
    except InvalidEvent:  # U+FFFE and U+FFFF are no XML characters
        assert {"\ufffe", "\uffff"} & set(body)
    else:
        assert stored is not None
        found = etree.fromstring(stored).findtext("{jabber:client}body") or ""
        assert found == body.replace("\r", "\n")

"""Stanzas: accepted exactly as by Prosody, and stripped of excluded children."""

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from stanzalake.errors import InvalidStanza
from stanzalake.xmpp.stanza import parse, require_serialisable, strip
from tests.support.events import stanza
from tests.support.mutations import damaged
from tests.support.prosody_parser import ProsodyParser, prosody_parser
from tests.support.stanzas import ODD, REFUSED, UNSERIALISABLE

STATES = "http://jabber.org/protocol/chatstates"
ACTIVE = f"<active xmlns='{STATES}'/>"
PROPOSE = "<propose xmlns='urn:xmpp:jingle-message:0' id='1'><x xmlns='y'/></propose>"
EMPTY = "<message xmlns='jabber:client' to='a@b'>{}</message>"


@pytest.fixture(scope="module")
def prosody() -> Iterator[ProsodyParser]:
    with prosody_parser() as parser:
        yield parser


@pytest.mark.requirement("313-04", "313-05", "297-03")
def test_a_stanza_without_excluded_children_is_unchanged() -> None:
    text = stanza(children="<x xmlns='other'  a = 'b' >\n</x >")
    assert strip(text, DEFAULT_EXCLUSIONS) == text


@pytest.mark.requirement("297-02", "313-127")
def test_excluded_children_are_removed_and_the_rest_stays() -> None:
    text = stanza("hi", f"{ACTIVE}<thread>t</thread>{PROPOSE}")
    assert strip(text, DEFAULT_EXCLUSIONS) == stanza("hi", "<thread>t</thread>")


def test_a_stanza_without_any_other_child_is_not_stored() -> None:
    assert strip(EMPTY.format(ACTIVE + PROPOSE), DEFAULT_EXCLUSIONS) is None
    assert strip(EMPTY.format(ACTIVE + "\n text"), DEFAULT_EXCLUSIONS) is None
    assert strip(EMPTY.format(""), DEFAULT_EXCLUSIONS) is None
    assert strip("<message xmlns='jabber:client'/>", DEFAULT_EXCLUSIONS) is None


def test_only_direct_children_are_removed() -> None:
    text = stanza(children=f"<forwarded xmlns='urn:xmpp:forward:0'>{ACTIVE}</forwarded>")
    assert strip(text, DEFAULT_EXCLUSIONS) == text


@pytest.mark.parametrize(
    "child",
    [
        f"<c:active xmlns:c='{STATES}'/>",
        f'<active xmlns="{STATES}" />',
        f"<active xmlns='{STATES.replace('/', '&#47;')}'></active >",
        f"<active xmlns='{STATES.replace('h', '&#x68;')}'/>",
    ],
)
def test_a_child_is_matched_by_namespace_however_it_is_written(child: str) -> None:
    assert strip(stanza(children=child), DEFAULT_EXCLUSIONS) == stanza()


@pytest.mark.parametrize("written", ["my app", "my\napp", "my&#32;app"])
def test_a_namespace_with_a_space_can_be_excluded(written: str) -> None:
    text = stanza(children=f"<x xmlns='{written}'/>")
    assert strip(text, frozenset({"my app"})) == stanza()


@pytest.mark.parametrize("namespace", ["a&b", "a<b", "it's"])
def test_a_namespace_with_special_characters_can_be_excluded(namespace: str) -> None:
    text = stanza(children=f"<x xmlns='{escape(namespace)}'/>")
    assert strip(text, frozenset({namespace})) == stanza()


def test_an_excluded_namespace_in_a_text_changes_nothing() -> None:
    text = stanza(STATES)
    assert strip(text, DEFAULT_EXCLUSIONS) == text


@pytest.mark.parametrize("text", ["b", "&lt;", "<![CDATA[b]]>", "é\r\n", "]]&gt;"])
def test_text_around_a_removed_child_stays(text: str) -> None:
    def message(child: str) -> str:
        return EMPTY.format(f"a{child}{text}<body>c</body>{text}{child}{text}")

    assert strip(message(ACTIVE), DEFAULT_EXCLUSIONS) == message("")
    assert strip(message(PROPOSE), DEFAULT_EXCLUSIONS) == message("")


@pytest.mark.parametrize("kind", ODD)
def test_odd_markup_is_accepted_as_by_prosody(kind: str, prosody: ProsodyParser) -> None:
    text = EMPTY.format(f"<body/>{ODD[kind]}")
    result = prosody.parse(text)
    assert result is not None
    assert result.stanzas == 1
    for stored in (text, result.text):
        assert strip(stored, DEFAULT_EXCLUSIONS) == stored
    with_state = EMPTY.format(f"<body/>{ACTIVE}{ODD[kind]}{ACTIVE}")
    assert strip(with_state, DEFAULT_EXCLUSIONS) == text


@pytest.mark.parametrize("kind", REFUSED)
def test_broken_markup_is_refused_as_by_prosody(kind: str, prosody: ProsodyParser) -> None:
    text = EMPTY.format(f"<body/>{REFUSED[kind]}")
    assert prosody.parse(text) is None
    for stored in (text, text.replace("<body/>", f"<body/>{ACTIVE}")):
        with pytest.raises(InvalidStanza):
            strip(stored, DEFAULT_EXCLUSIONS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "<message/>",
        "<message xmlns='jabber:client'><body></message>",
        "<presence xmlns='jabber:client'><show/></presence>",
        "<!DOCTYPE m [<!ENTITY x 'y'>]><message xmlns='jabber:client'><body>&x;</body></message>",
        "<?xml version='1.0'?><message xmlns='jabber:client'><body/></message>",
        "<message xmlns='jabber:client'/><message xmlns='jabber:client'/>",
        "<message xmlns='jabber:client'><body>\ud800</body></message>",
    ],
)
def test_anything_but_a_message_is_invalid(text: str) -> None:
    with pytest.raises(InvalidStanza):
        strip(text, DEFAULT_EXCLUSIONS)


@given(st.text())
def test_arbitrary_text_is_invalid(text: str) -> None:
    with pytest.raises(InvalidStanza):
        strip(text, DEFAULT_EXCLUSIONS)


SEEDS = [
    stanza("x", ACTIVE + PROPOSE).encode(),
    *(EMPTY.format(odd).encode() for odd in ODD.values() if len(odd) < 1000),
    *(EMPTY.format(refused).encode() for refused in REFUSED.values()),
]


@given(damaged(SEEDS))
def test_a_damaged_message_is_judged_as_by_prosody(prosody: ProsodyParser, raw: bytes) -> None:
    text = raw.decode(errors="replace")
    whole = text.startswith("<message") and text.endswith("</message>")
    result = prosody.parse(text)
    try:
        parse(text)
    except InvalidStanza:
        assert not (whole and result and result.stanzas == 1)
    else:
        assert result is not None
        assert result.stanzas == 1


@pytest.mark.parametrize("kind", UNSERIALISABLE)
def test_markup_that_prosody_cannot_pass_on_is_refused(kind: str, prosody: ProsodyParser) -> None:
    text = EMPTY.format(f"<body/>{UNSERIALISABLE[kind]}")
    result = prosody.parse(text)
    assert result is not None
    with pytest.raises(InvalidStanza):
        parse(result.text)
    with pytest.raises(InvalidStanza):
        require_serialisable(text)


@given(damaged([*SEEDS, *(EMPTY.format(x).encode() for x in UNSERIALISABLE.values())]))
def test_anything_else_is_passed_on_as_a_stanza(prosody: ProsodyParser, raw: bytes) -> None:
    text = raw.decode(errors="replace")
    try:
        strip(text, frozenset())
        require_serialisable(text)
    except InvalidStanza:
        return
    result = prosody.parse(text)
    assert result is not None
    assert parse(result.text)


class Child(NamedTuple):
    """A child of a generated message, and whether it is excluded."""

    text: str
    excluded: bool


BODIES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12).filter(
    lambda text: not {"\ufffe", "\uffff"} & set(text)
)
CHARACTER_DATA = BODIES.map(lambda text: Child(escape(text), excluded=False))


@st.composite
def children(draw: st.DrawFn) -> Child:
    """Draw a child element in one of its spellings."""
    excluded = draw(st.booleans())
    namespace = STATES if excluded else draw(st.sampled_from(["jabber:client", "my app", "a}b"]))
    prefix = draw(st.sampled_from(["", "p"]))
    name = f"{prefix}:x" if prefix else "x"
    declared = f"xmlns:{prefix}" if prefix else "xmlns"
    extra = draw(st.sampled_from(["", " ", ' a="1"']))
    tag = f"{name} {declared}='{namespace}'{extra}"
    inner = draw(st.sampled_from(["", ACTIVE, "<y xmlns='z'>t</y>"])) + escape(draw(BODIES))
    return Child(f"<{tag}>{inner}</{name} >" if inner else f"<{tag}/>", excluded)


@given(st.lists(CHARACTER_DATA | children(), max_size=6))
def test_exactly_the_excluded_children_are_removed(drawn: list[Child]) -> None:
    text = EMPTY.format("<body/>" + "".join(child.text for child in drawn))
    kept = EMPTY.format("<body/>" + "".join(c.text for c in drawn if not c.excluded))
    assert strip(text, DEFAULT_EXCLUSIONS) == kept

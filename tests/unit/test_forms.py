"""The search form."""

from contextlib import suppress
from xml.etree.ElementTree import Element, SubElement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query import forms
from query.errors import StanzaError
from query.forms import TEXT_FIELD, Filters
from stanzalake.model.full_text import MAX_TEXT, MAX_WORDS
from stanzalake.model.jid import Jid
from stanzalake.xmpp.namespaces import DATA, MAM, VALIDATE, tag
from tests.support.full_text import text_query
from tests.support.queries import FORM_TYPE, field, form, parsed

FIELDS = ["with", "start", "end", "before-id", "after-id", "ids", "include-groupchat"]


def parse(*fields: str) -> Filters:
    return forms.parse(parsed(form(*fields)))


def refusal(markup: str) -> str:
    with pytest.raises(StanzaError) as raised:
        forms.parse(parsed(markup))
    return raised.value.condition


@pytest.mark.requirement("313-37", "4-02")
@pytest.mark.parametrize("markup", [form(), f"<x xmlns='{DATA}' type='submit'/>"])
def test_an_empty_form_filters_nothing(markup: str) -> None:
    assert forms.parse(parsed(markup)) == forms.parse(None) == Filters()


@pytest.mark.requirement(
    "313-32", "313-33", "313-65", "313-67", "431-03", "4-07", "4-11"
)  # fmt: skip
@pytest.mark.parametrize(
    ("markup", "filters"),
    [
        (field("with", "romeo@montague.lit"), Filters(peer=Jid("romeo", "montague.lit"))),
        (
            field("with", "ROMEO@Montague.LIT/Orchard"),
            Filters(peer=Jid("romeo", "montague.lit", "Orchard")),
        ),
        (field("with", "montague.lit"), Filters(peer=Jid(None, "montague.lit"))),
        (field("start", "1970-01-01T00:00:01.0001Z"), Filters(start=1001)),
        (field("end", "1970-01-01T00:00:01.0009Z"), Filters(end=1000)),
        (field("before-id", "b"), Filters(before_id="b")),
        (field("after-id", "a"), Filters(after_id="a")),
        (field("ids", "a", "b"), Filters(ids=("a", "b"))),
        (field("include-groupchat", "true"), Filters()),
        (field("include-groupchat", "1"), Filters()),
        (field("include-groupchat", "false"), Filters(groupchat=False)),
        (field("include-groupchat", "0"), Filters(groupchat=False)),
        (field(TEXT_FIELD, "a Rosé"), Filters(text=text_query("a rose"))),
        (field(TEXT_FIELD, ""), Filters()),
        (field(TEXT_FIELD, ' "\u200b" '), Filters()),
        ("<field type='fixed'><value>note</value></field>", Filters()),
        ("<field var='after-id' type='boolean'><value>a</value></field>", Filters(after_id="a")),
    ],
)
def test_a_field_is_understood(markup: str, filters: Filters) -> None:
    assert parse(markup) == filters


@pytest.mark.requirement("68-04", "68-06", "4-13")
def test_form_type_may_stand_anywhere_and_types_may_be_missing() -> None:
    markup = f"<x xmlns='{DATA}'>{field('after-id', 'a')}{field('FORM_TYPE', MAM)}</x>"
    assert forms.parse(parsed(markup)) == Filters(after_id="a")


@pytest.mark.requirement("313-31", "68-02", "68-05")
@pytest.mark.parametrize(
    "form_type",
    [
        "",
        field("FORM_TYPE"),
        field("FORM_TYPE", ""),
        field("FORM_TYPE", "urn:xmpp:mam:1"),
        field("FORM_TYPE", "URN:XMPP:MAM:2"),
        field("FORM_TYPE", MAM, MAM),
        FORM_TYPE + FORM_TYPE,
    ],
)
def test_another_form_type_is_a_bad_request(form_type: str) -> None:
    markup = f"<x xmlns='{DATA}' type='submit'>{form_type}{field('after-id', 'a')}</x>"
    assert refusal(markup) == "bad-request"


@pytest.mark.requirement("313-76", "4-01")
@pytest.mark.parametrize("name", ["{urn:xmpp:fulltext:1}fulltext", "withtext", "With", "before"])
def test_an_unknown_field_is_not_implemented(name: str) -> None:
    assert refusal(form(field(name, "x"))) == "feature-not-implemented"


@pytest.mark.requirement("4-04", "4-10", "4-12", "313-49", "313-67")
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("values", [[], [""], ["x" * 3072]])
def test_a_value_that_is_missing_empty_or_too_long_is_a_bad_request(
    name: str, values: list[str]
) -> None:
    assert refusal(form(field(name, *values))) == "bad-request"


@pytest.mark.requirement("4-04", "4-05", "4-08", "4-09", "4-10", "4-15")
@pytest.mark.parametrize(
    "markup",
    [
        field("with", "@"),
        field("with", "a@b@c"),
        field("with", "romeo@montague.lit/"),
        field("with", "a@b", "a@b"),
        field("start", "yesterday"),
        field("start", "2010-08-07T00:00:00"),
        field("end", "2010-02-30T00:00:00Z"),
        field("include-groupchat", "TRUE"),
        field("before-id", "a", "b"),
        field("after-id", "a") + field("after-id", "a"),
        field("ids", "a", ""),
        field(TEXT_FIELD),
        field(TEXT_FIELD, "a", "b"),
        field(TEXT_FIELD, "x" * (MAX_TEXT + 1)),
        field(TEXT_FIELD, "x " * (MAX_WORDS + 1)),
        field("ids", *map(str, range(forms.MAX_IDS + 1))),
        "<field><value>x</value></field>",
        "".join(field(f"f{n}", "x") for n in range(forms.MAX_FIELDS)),
    ],
)
def test_a_value_that_cannot_be_used_is_a_bad_request(markup: str) -> None:
    assert refusal(form(markup)) == "bad-request"


@pytest.mark.requirement("4-13")
@pytest.mark.parametrize("kind", ["cancel", "form", "result", ""])
def test_a_form_of_another_type_is_a_bad_request(kind: str) -> None:
    assert refusal(f"<x xmlns='{DATA}' type='{kind}'>{FORM_TYPE}</x>") == "bad-request"


@pytest.mark.requirement(
    "313-35", "313-36", "313-69", "313-70", "313-71", "313-72", "4-06", "431-02", "68-03", "68-06"
)
def test_the_form_lists_every_field_and_requires_none() -> None:
    served = parsed(forms.FORM)
    assert (served.tag, served.get("type")) == (tag(DATA, "x"), "form")
    assert [(f.get("var"), f.get("type")) for f in served] == [
        ("FORM_TYPE", "hidden"),
        ("with", "jid-single"),
        ("start", "text-single"),
        ("end", "text-single"),
        ("before-id", "text-single"),
        ("after-id", "text-single"),
        ("ids", "list-multi"),
        ("include-groupchat", "boolean"),
        (TEXT_FIELD, "text-single"),
    ]
    assert served[0].findtext(tag(DATA, "value")) == MAM
    assert not served.findall(f".//{tag(DATA, 'required')}")
    assert not served.findall(f".//{tag(DATA, 'option')}")


@pytest.mark.requirement("313-73", "122-01", "122-02", "122-03")
def test_the_form_takes_any_ids() -> None:
    [validate] = parsed(forms.FORM).findall(f"*[@var='ids']/{tag(VALIDATE, 'validate')}")
    assert validate.get("datatype") == "xs:string"
    assert [child.tag for child in validate] == [tag(VALIDATE, "open")]


@pytest.mark.requirement("122-04")
@given(
    st.lists(
        st.tuples(st.sampled_from([*FIELDS, TEXT_FIELD]), st.lists(st.text(), max_size=2)),
        max_size=4,
    )
)
def test_no_form_does_worse_than_a_stanza_error(fields: list[tuple[str, list[str]]]) -> None:
    submitted = Element(tag(DATA, "x"))
    for name, values in [("FORM_TYPE", [MAM]), *fields]:
        parent = SubElement(submitted, tag(DATA, "field"), var=name)
        for value in values:
            SubElement(parent, tag(DATA, "value")).text = value
    with suppress(StanzaError):
        forms.parse(submitted)

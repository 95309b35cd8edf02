"""Result Set Management."""

from contextlib import suppress
from xml.etree.ElementTree import Element, SubElement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query import rsm
from query.errors import StanzaError
from query.rsm import Paging
from stanzalake.xmpp.namespaces import RSM, tag
from tests.support.queries import page, parsed


def parse(content: str) -> Paging:
    return rsm.parse(parsed(page(content)))


@pytest.mark.requirement("59-01", "59-10", "59-17", "59-18", "59-19", "313-93")
@pytest.mark.parametrize(
    ("content", "paging"),
    [
        ("", Paging()),
        ("<max>10</max>", Paging(limit=10)),
        ("<max> 0 </max>", Paging(limit=0)),
        ("<max>999999999999999999</max>", Paging(limit=10**18 - 1)),
        ("<max>9223372036854775807</max>", Paging(limit=10**18)),
        ("<index>18446744073709551615</index>", Paging(index=10**18)),
        ("<after>a</after>", Paging(after="a")),
        ("<before>b</before>", Paging(before="b", backward=True)),
        ("<before/>", Paging(backward=True)),
        ("<before></before>", Paging(backward=True)),
        ("<after/>", Paging()),
        ("<after/><before/>", Paging(backward=True)),
        ("<after/><before>b</before>", Paging(before="b", backward=True)),
        ("<after>a</after><before>b</before>", Paging(after="a", before="b")),
        ("<after>a</after><before/>", Paging(after="a")),
        ("<index>3</index><max>2</max>", Paging(limit=2, index=3)),
        ("<index>3</index><after/>", Paging(index=3)),
        ("<max xmlns='other'>x</max><other/>", Paging()),
    ],
)
def test_a_page_is_understood(content: str, paging: Paging) -> None:
    assert parse(content) == paging


def test_no_set_asks_for_the_first_page() -> None:
    assert rsm.parse(None) == Paging()


@pytest.mark.requirement("59-29")
@pytest.mark.parametrize(
    "content",
    [
        "<max/>",
        "<max>-1</max>",
        "<max>ten</max>",
        "<max>1.5</max>",
        "<max>+5</max>",
        "<max>٣</max>",
        f"<max>{'9' * 21}</max>",
        f"<max>{'9' * 5000}</max>",
        "<index>-1</index>",
        "<index/>",
        "<max>1</max><max>1</max>",
        "<after>a</after><after>b</after>",
        "<index>1</index><after>a</after>",
        "<index>1</index><before>b</before>",
        "<index>1</index><before/>",
    ],
)
def test_an_invalid_set_is_a_bad_request(content: str) -> None:
    with pytest.raises(StanzaError) as raised:
        parse(content)
    assert raised.value.condition == "bad-request"


@pytest.mark.requirement("59-02", "59-06")
def test_a_page_is_described() -> None:
    assert rsm.emit(9, 4, "<a", "b&") == (
        f"<set xmlns='{RSM}'><first index='4'>&lt;a</first><last>b&amp;</last>"
        "<count>9</count></set>"
    ).replace("'", '"')


@pytest.mark.requirement("59-04", "59-12")
def test_an_empty_page_has_neither_first_nor_last() -> None:
    assert rsm.emit(9) == f'<set xmlns="{RSM}"><count>9</count></set>'


@given(st.lists(st.tuples(st.sampled_from(["max", "after", "before", "index"]), st.text())))
def test_no_set_does_worse_than_a_bad_request(children: list[tuple[str, str]]) -> None:
    asked = Element(tag(RSM, "set"))
    for name, text in children:
        SubElement(asked, tag(RSM, name)).text = text
    with suppress(StanzaError):
        rsm.parse(asked)

"""Traits that an insert gives, and those that ClickHouse computes, are the same."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stanzalake.model.traits import Trait
from stanzalake.store import client, expressions
from stanzalake.store.client import Row, Store
from stanzalake.store.traits import traits
from tests.support.events import ROMEO, stanza
from tests.support.stores import ON_BOTH_STORES, migrated_store

pytestmark = ON_BOTH_STORES

KNOWN = (
    *(("body", "jabber:client"), ("body", "urn:xmpp:other"), ("bodys", ""), ("x", "jabber:x:oob")),
    *(("x", "jabber:x:encrypted"), ("x", "jabber:x:data"), ("reply", "urn:xmpp:reply:0")),
    *(("reactions", "urn:xmpp:reactions:0"), ("replace", "urn:xmpp:message-correct:0")),
    *(("retract", f"urn:xmpp:message-retract:{version}") for version in range(3)),
    *(("displayed", "urn:xmpp:chat-markers:0"), ("acknowledged", "urn:xmpp:chat-markers:0")),
    *(("received", "urn:xmpp:chat-markers:0"), ("file-sharing", "urn:xmpp:sfs:0")),
    *(("media-sharing", "urn:xmpp:sims:1"), ("reference", "urn:xmpp:reference:0")),
    *(("encrypted", "eu.siacs.conversations.axolotl"), ("encrypted", "urn:xmpp:omemo:2")),
    *(("openpgp", "urn:xmpp:openpgp:0"), ("mls", "urn:xmpp:mls:0"), ("otr", "urn:xmpp:otr:0")),
    *(
        ("xs", "jabber:x:oob"),
        ("replys", "urn:xmpp:reply:0"),
        ("retracts", "urn:xmpp:message-retract:1"),
    ),
    *(("encryption", "urn:xmpp:eme:0"), ("encryption", "urn:xmpp:eme:"), ("subject", "")),
)
"""Names and namespaces of elements; also some that are none of the kinds."""
NAMES, NAMESPACES = zip(*KNOWN, strict=True)
TEXTS = st.sampled_from(
    (
        "",
        " ",
        "hello",
        "?OTR:AAMC",
        "&#63;OTR",
        "&lt;displayed",
        "&#0;",
        "&amp;",
        "a > b",
        "ü ☹",
        "\t",
    )
)
SPACES = st.sampled_from((" ", "\n", "\t", "  "))
QUOTES = st.sampled_from("'\"")


@st.composite
def tags(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a name, and its tag's inside with some attributes: mostly of the namespace it has."""
    known = st.sampled_from(KNOWN)
    name, namespace = draw(known | known | st.tuples(*map(st.sampled_from, (NAMES, NAMESPACES))))
    attributes = [("id", draw(st.sampled_from(("1", "xmlns=", "&gt;")))), ("xmlns", namespace)]
    inside = ""
    for attribute, value in draw(st.permutations(attributes)):
        if value and (attribute == "xmlns" or draw(st.booleans())):
            quote = draw(QUOTES)
            inside += f"{draw(SPACES)}{attribute}={quote}{value}{quote}"
    return name, inside + draw(st.sampled_from(("", " ")))


def element(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    whole = st.builds(lambda tag, content: f"<{tag[0]}{tag[1]}>{content}</{tag[0]}>", tags(), inner)
    return whole | st.builds(lambda tag: f"<{tag[0]}{tag[1]}/>", tags())


def joined(some: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(some | TEXTS, max_size=5).map("".join)


elements = st.recursive(element(TEXTS), lambda inner: element(joined(inner)), max_leaves=6)
stanzas = st.builds(
    lambda start, content: f"<message{start}>{content}</message>",
    st.sampled_from(("", " id='m'", " xmlns='jabber:client' type='chat'", "\nxml:lang='en'")),
    joined(elements),
)


@pytest.fixture(scope="module")
def store(dsn: str) -> Iterator[Store]:
    with migrated_store(dsn) as store:
        yield store


def computed(store: Store, texts: list[str]) -> list[int]:
    """Return the traits that ClickHouse computes."""
    statement = (
        f"SELECT {expressions.TRAITS} FROM (SELECT arrayJoin({{texts:Array(String)}}) AS stanza)"
    )
    return [found for (found,) in store.select(statement, {"texts": texts})]


@pytest.mark.hypothesis
@settings(max_examples=25)
@given(st.lists(stanzas, min_size=10, max_size=40))
@example([stanza("&#63;OTR", "<subject>?OTR</subject>")])
@example(["<message><body/>behind</message>", "<message/>", "<message></message>"])
def test_an_insert_gives_what_clickhouse_computes(store: Store, texts: list[str]) -> None:
    assert [traits(text) for text in texts] == computed(store, texts)


@pytest.mark.parametrize("length", [1, 100_000], ids=["small", "large"])
def test_an_insert_of_any_size_leaves_the_same_traits(store: Store, length: int) -> None:
    reply = "<reply xmlns='urn:xmpp:reply:0' id='m'/>"
    texts = [stanza("a" * length), stanza("b", reply), stanza("", "<received id='m'/>")]
    rows = [Row(f"{length}@a", n, ROMEO, "", "in", "chat", text) for n, text in enumerate(texts)]
    store.insert(rows)
    found = store.select(
        "SELECT traits FROM {messages:Identifier} WHERE owner = {owner:String} ORDER BY position",
        {"owner": f"{length}@a"},
    )
    assert [Trait(bits) for (bits,) in found] == [Trait.BODY, Trait.BODY | Trait.REPLY, Trait(0)]


def test_a_user_who_may_not_give_traits_has_them_computed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(client.GIVES_TRAITS, "no_such_setting", 1)
    text = stanza("b", "<reply xmlns='urn:xmpp:reply:0' id='m'/>")
    for position in range(2):
        store.insert([Row("refused@a", position, ROMEO, "", "in", "chat", text)])
    found = store.select(
        "SELECT traits FROM {messages:Identifier} WHERE owner = 'refused@a' ORDER BY position"
    )
    assert found == [(Trait.BODY | Trait.REPLY,)] * 2

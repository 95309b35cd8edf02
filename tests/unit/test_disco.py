"""Service discovery."""

from xml.etree.ElementTree import Element

import pytest

from query import disco
from query.errors import StanzaError
from stanzalake.xmpp.namespaces import DELEGATION, DISCO_INFO, DISCO_ITEMS, INBOX, MAM
from tests.support.queries import parsed

USERS = "urn:xmpp:delegation:2:bare:urn:xmpp:mam:2"
HOSTS = "urn:xmpp:delegation:2::urn:xmpp:mam:2"


def ask(namespace: str, node: str | None = None) -> Element:
    asked = Element(f"{{{namespace}}}query", {} if node is None else {"node": node})
    answer = parsed(disco.answer(asked))
    assert (answer.tag, answer.get("node")) == (asked.tag, node)
    return answer


def features(answer: Element) -> set[str | None]:
    return {f.get("var") for f in answer.findall(f"{{{DISCO_INFO}}}feature")}


@pytest.mark.requirement("30-01", "355-21", "313-116", "4-14")
def test_the_component_names_itself() -> None:
    info = ask(DISCO_INFO)
    [identity] = info.findall(f"{{{DISCO_INFO}}}identity")
    assert (identity.get("category"), identity.get("type")) == ("component", "archive")
    assert features(info) == {DISCO_INFO, DISCO_ITEMS, DELEGATION}


@pytest.mark.requirement(
    "355-23", "30-02", "313-34", "313-149", "313-150", "313-151", "313-152", "359-16", "59-28",
    "424-01", "424-02", "431-01",
)  # fmt: skip
def test_users_get_the_features_of_an_archive() -> None:
    info = ask(DISCO_INFO, USERS)
    assert features(info) == {
        MAM,
        f"{MAM}#extended",
        f"{MAM}#groupchat-field",
        "urn:xmpp:sid:0",
        "http://jabber.org/protocol/rsm",
        "urn:xmpp:message-retract:1",
        "urn:xmpp:message-retract:1#tombstone",
        "urn:xmpp:fulltext:0",
    }
    assert all(child.tag == f"{{{DISCO_INFO}}}feature" for child in info)


@pytest.mark.requirement("430-01")
def test_users_get_the_inbox_where_it_is_delegated() -> None:
    assert features(ask(DISCO_INFO, USERS.replace(MAM, INBOX))) == {INBOX}


@pytest.mark.requirement("355-22", "30-02")
def test_hosts_get_nothing() -> None:
    assert len(ask(DISCO_INFO, HOSTS)) == 0


@pytest.mark.requirement("30-07", "355-27")
@pytest.mark.parametrize("node", [None, HOSTS, USERS])
def test_there_are_no_items(node: str | None) -> None:
    assert len(ask(DISCO_ITEMS, node)) == 0


@pytest.mark.requirement("30-05")
@pytest.mark.parametrize("namespace", [DISCO_INFO, DISCO_ITEMS])
@pytest.mark.parametrize("node", ["", "other", f"{USERS}#", "urn:xmpp:delegation:1:bare:" + MAM])
def test_an_unknown_node_is_not_found(namespace: str, node: str) -> None:
    with pytest.raises(StanzaError, match="item-not-found"):
        ask(namespace, node)

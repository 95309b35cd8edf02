"""Service discovery of the component, its hosts and their users (XEP-0030, XEP-0355)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from query.errors import StanzaError
from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import (
    DELEGATION,
    DISCO_INFO,
    DISCO_ITEMS,
    FULL_TEXT,
    INBOX,
    MAM,
    RETRACTION,
    RSM,
    STANZA_IDS,
    tag,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

INFO = tag(DISCO_INFO, "query")
ITEMS = tag(DISCO_ITEMS, "query")
HOST_NODE = f"{DELEGATION}::{MAM}"
USER_NODE = f"{DELEGATION}:bare:{MAM}"
INBOX_NODE = f"{DELEGATION}:bare:{INBOX}"

_COMPONENT_FEATURES = (DISCO_INFO, DISCO_ITEMS, DELEGATION)
_USER_FEATURES = (
    MAM,
    f"{MAM}#extended",
    f"{MAM}#groupchat-field",
    STANZA_IDS,
    RSM,
    RETRACTION,
    f"{RETRACTION}#tombstone",
    FULL_TEXT,
)
_IDENTITY = markup.element(
    "identity", {"category": "component", "type": "archive", "name": "Stanzalake"}
)


def _features(names: Sequence[str]) -> str:
    return "".join(markup.element("feature", {"var": name}) for name in names)


_INFO = {
    None: _IDENTITY + _features(_COMPONENT_FEATURES),
    HOST_NODE: "",
    USER_NODE: _features(_USER_FEATURES),
    f"{DELEGATION}::{INBOX}": "",
    INBOX_NODE: _features((INBOX,)),
}
"""Contents by node. Only users have archives, so a host gets no feature."""


def answer(query: "Element") -> str:
    """Give the answer to a disco#info or disco#items query, as markup.

    Raises:
        StanzaError: item-not-found for an unknown node.
    """
    node = query.get("node")
    if node not in _INFO:
        raise StanzaError("item-not-found")
    if query.tag == ITEMS:
        return markup.element("query", {"xmlns": DISCO_ITEMS, "node": node})
    return markup.element("query", {"xmlns": DISCO_INFO, "node": node}, _INFO[node])

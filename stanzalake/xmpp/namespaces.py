"""The XML namespaces of the protocols that the query service speaks."""

CLIENT = "jabber:client"
DATA = "jabber:x:data"
DELAY = "urn:xmpp:delay"
DELEGATION = "urn:xmpp:delegation:2"
DISCO_INFO = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
FORWARD = "urn:xmpp:forward:0"
KEEP_ALIVE = "urn:stanzalake:keep-alive:1"
MAM = "urn:xmpp:mam:2"
ORDER_BY = "urn:xmpp:order-by:1"
PRIVILEGE = "urn:xmpp:privilege:2"
QUERY = "urn:stanzalake:query:1"
RETRACTION = "urn:xmpp:message-retract:1"
RSM = "http://jabber.org/protocol/rsm"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
STANZA_IDS = "urn:xmpp:sid:0"
VALIDATE = "http://jabber.org/protocol/xdata-validate"


def tag(namespace: str, name: str) -> str:
    """Return an element's name in ElementTree's form."""
    return f"{{{namespace}}}{name}"

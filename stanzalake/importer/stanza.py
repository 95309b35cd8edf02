"""Converts the stanzas of other archives to our events (docs/protocol.md)."""

from typing import Any, Final

import msgspec
from lxml import etree

from stanzalake.errors import InvalidEvent, InvalidJid
from stanzalake.importer.source import ArchivedMessage
from stanzalake.model.event import MAX_STANZA, VERSION, Message
from stanzalake.xmpp import jid
from stanzalake.xmpp import stanza as exclusion

_CLIENT: Final = "jabber:client"
_STANZA_ID = "{urn:xmpp:sid:0}stanza-id"
_XML = "{http://www.w3.org/XML/1998/namespace}"
_KINDS = frozenset({"chat", "groupchat", "headline", "error"})
_OPEN = "<message"
_PARSER = etree.XMLParser(resolve_entities=False)


def to_event(
    archived: ArchivedMessage, position: int, exclusions: frozenset[str]
) -> Message | None:
    """Convert an archived message to an event.

    Args:
        archived: The message.
        position: The position allocated to the message.
        exclusions: Namespaces of elements that are not stored.

    Returns:
        None if only excluded elements are left.

    Raises:
        InvalidEvent: Invalid message; the reason never quotes content.
    """
    message, text = _parse(archived)
    stored = exclusion.strip(_without_own_id(message, text, archived.owner), exclusions)
    return None if stored is None else _event(archived, position, message, stored)


def _parse(archived: ArchivedMessage) -> tuple[etree._Element, str]:
    if len(archived.stanza) > MAX_STANZA:
        raise InvalidEvent(f"a stanza over the limit of {MAX_STANZA} characters")
    if archived.form == "json":
        message = _from_json(archived.stanza)
        return message, etree.tostring(message, encoding="unicode")
    try:
        message = etree.fromstring(archived.stanza, _PARSER)
    except (etree.XMLSyntaxError, ValueError):
        raise InvalidEvent("the stanza is not well-formed") from None
    return message, _add_namespace(message, archived.stanza)


def _add_namespace(message: etree._Element, text: str) -> str:
    """Add the default namespace, which Prosody omits as the stream's."""
    if message.tag == "message" and text.startswith(_OPEN):
        return f"{_OPEN} xmlns='{_CLIENT}'{text.removeprefix(_OPEN)}"
    return text


def _without_own_id(message: etree._Element, text: str, owner: str) -> str:
    """Remove stanza-ids by the owner, which only this archive may assign (XEP-0359 §3, rule 2)."""
    own = [child for child in message.findall(_STANZA_ID) if child.get("by") == owner]
    if not own:
        return text
    whole = etree.fromstring(text, _PARSER)
    for child in whole.findall(_STANZA_ID):
        if child.get("by") == owner:
            whole.remove(child)
    return etree.tostring(whole, encoding="unicode")


def _event(
    archived: ArchivedMessage, position: int, message: etree._Element, stored: str
) -> Message:
    kind = message.get("type", "")
    try:
        sender = jid.parse(message.get("from", archived.owner))
        addressee = jid.parse(message.get("to", archived.owner))
        outgoing = sender.bare == archived.owner
        other = addressee if outgoing else sender
        peer = jid.parse(archived.peer).bare if archived.peer else other.bare
        return msgspec.convert(
            {
                "type": "message",
                "v": VERSION,
                "owner": archived.owner,
                "position": position,
                "peer": peer,
                "peer_resource": other.resource or "",
                "direction": "out" if outgoing else "in",
                "kind": kind if kind in _KINDS else "normal",
                "contact": True,
                "stanza": stored,
            },
            Message,
        )
    except InvalidJid as error:
        raise InvalidEvent(f"an address is not a JID: {error}") from None
    except msgspec.ValidationError as error:
        raise InvalidEvent(str(error)) from None


def _from_json(text: str) -> etree._Element:
    try:
        return _element(msgspec.json.decode(text), None, _CLIENT)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidEvent("the stanza is not well-formed JSON") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InvalidEvent("the stanza is not in Prosody's preserialised form") from None


def _element(node: Any, parent: etree._Element | None, namespace: str) -> etree._Element:
    """Build an element from Prosody's preserialised form: name, attr, children in __array."""
    attributes = dict(node["attr"])
    namespace = attributes.pop("xmlns", namespace)
    name: str = f"{{{namespace}}}{node['name']}"
    nsmap: Any = {None: namespace}  # the stubs know no default namespace
    if parent is None:
        element = etree.Element(name, nsmap=nsmap)
    else:
        element = etree.SubElement(parent, name, nsmap=nsmap)
    for key, value in attributes.items():
        element.set(_attribute(key), value)
    for child in node.get("__array", ()):
        if isinstance(child, str):
            _append_text(element, child)
        else:
            _element(child, element, namespace)
    return element


def _attribute(key: str) -> str:
    """Return lxml's name of an attribute; Prosody separates a namespace by a control character."""
    namespace, separator, name = key.partition("\1")
    if separator:
        return f"{{{namespace}}}{name}"
    return _XML + key.removeprefix("xml:") if key.startswith("xml:") else key


def _append_text(element: etree._Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text

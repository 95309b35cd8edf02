"""Converts the stanzas of other archives to our events (docs/protocol.md)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from stanzalake.errors import InvalidEvent, InvalidJid
from stanzalake.importer.source import ArchivedMessage
from stanzalake.model import jid
from stanzalake.model.event import MAX_STANZA, VERSION, Message
from stanzalake.xmpp import markup, stanza

_CLIENT: Final = "jabber:client"
_STANZA_ID: Final = f"urn:xmpp:sid:0{stanza.SEPARATOR}stanza-id"
_KINDS: Final = frozenset({"chat", "groupchat", "headline", "error"})
_OPEN: Final = "<message"
_NAME: Final = re.compile(r"[^\s<>&'\"/=\1]+")


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
    text = _text(archived)
    message, *children = stanza.parse(text)
    own = [child for child in children if _is_own_id(child, archived.owner)]
    stanza.require_serialisable(text)
    stored = stanza.strip(stanza.cut(text, own), exclusions)
    return None if stored is None else _event(archived, position, message.attributes, stored)


def _text(archived: ArchivedMessage) -> str:
    """Return the stanza as XML, with the namespace that Prosody omits as the stream's."""
    if len(archived.stanza) > MAX_STANZA:
        raise InvalidEvent(f"a stanza over the limit of {MAX_STANZA} characters")
    text = _from_json(archived.stanza) if archived.form == "json" else archived.stanza.strip()
    if text.startswith(_OPEN) and stanza.parse(text)[0].name == "message":
        return f"{_OPEN} xmlns='{_CLIENT}'{text.removeprefix(_OPEN)}"
    return text


def _is_own_id(child: stanza.Element, owner: str) -> bool:
    """Return whether a child claims to be an id that only this archive assigns (XEP-0359 §3)."""
    try:
        return child.name == _STANZA_ID and jid.parse(child.attributes["by"]).bare == owner
    except (InvalidJid, KeyError):
        return False


def _event(
    archived: ArchivedMessage, position: int, attributes: Mapping[str, str], stored: str
) -> Message:
    kind = attributes.get("type", "")
    try:
        sender = jid.parse(attributes.get("from", archived.owner))
        addressee = jid.parse(attributes.get("to", archived.owner))
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


def _from_json(text: str) -> str:
    try:
        return _element(msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError):
        raise InvalidEvent("the stanza is not well-formed JSON") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InvalidEvent("the stanza is not in Prosody's preserialised form") from None


def _element(node: Any) -> str:
    """Format an element in Prosody's preserialised form: name, attr, children in __array."""
    children = (
        markup.text(child) if isinstance(child, str) else _element(child)
        for child in node.get("__array", ())
    )
    return markup.element(_name(node["name"]), dict(_attributes(dict(node["attr"]))), *children)


def _attributes(attributes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield attributes; Prosody separates a namespace from the name by a control character."""
    for number, (key, value) in enumerate(attributes.items()):
        namespace, separator, name = key.rpartition(stanza.SEPARATOR)
        if separator:
            yield f"xmlns:ns{number}", namespace
            yield f"ns{number}:{_name(name)}", value
        else:
            yield _name(name), value


def _name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError("a name has a character that no name has")
    return name

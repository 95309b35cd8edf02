"""Converts the stanzas of other archives to our events (docs/protocol.md)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from stanzalake.errors import InvalidEvent, InvalidJid
from stanzalake.importer.source import ArchivedMessage
from stanzalake.model import jid
from stanzalake.model.event import MAX_STANZA, VERSION, Message
from stanzalake.xmpp import markup, stanza
from stanzalake.xmpp.namespaces import MUC_USER

_CLIENT: Final = "jabber:client"
_STANZA_ID: Final = f"urn:xmpp:sid:0{stanza.SEPARATOR}stanza-id"
_IDENTITY: Final = f"{MUC_USER}{stanza.SEPARATOR}x"
_KINDS: Final = frozenset({"chat", "groupchat", "headline", "error"})
_PRESENCE: Final = f"{_CLIENT}{stanza.SEPARATOR}presence"
_NAMES: Final = ("message", "presence")
_HEAD: Final = re.compile(r"""<message(?:\s+[^\s=>/]+\s*=\s*(?:'[^']*'|"[^"]*"))*""")
_ATTRIBUTE: Final = re.compile(r"""\s+([^\s=>/]+)\s*=\s*(?:'[^']*'|"[^"]*")""")
_TAG: Final = re.compile(r"""<[^\s<>/=]+(?:\s+[^\s=>/]+\s*=\s*(?:'[^']*'|"[^"]*"))+""")
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
    text = escape_attributes(_text(archived))
    message, *children = stanza.parse(text)
    stanza.require_serialisable(text)
    if _is_presence_in_room(message, archived.owner):
        return _event(archived, position, message, text, of_room=True)
    of_room = _is_of_room(message, archived.owner)
    excess = _excess(children, archived.owner, of_room=of_room)
    stored = stanza.strip(stanza.cut(text, excess), exclusions)
    if stored is None:
        return None
    if of_room:
        stored = _without_addressee(stored)
    return _event(archived, position, message, stored, of_room=of_room)


def escape_attributes(text: str) -> str:
    """Escape ">" in attributes, as Prosody does: in the archive, the first ">" ends a tag.

    XML allows it there, and canonical XML leaves it so (XML 1.0 §2.4, C14N §2.3).
    """
    return _TAG.sub(lambda tag: tag[0].replace(">", "&gt;"), text)


def _is_of_room(message: stanza.Element, owner: str) -> bool:
    """Return whether the archive is a room's: its messages come from the room's own address.

    Their addressee, if there is one, is the room or an occupant; a user's own go to the bare JID
    of another.
    """
    sender = message.attributes.get("from", "").partition("/")[0]
    addressee = message.attributes.get("to", "")
    is_groupchat = message.attributes.get("type") == "groupchat"
    is_kept_by_room = addressee in {"", owner} or "/" in addressee
    return is_groupchat and sender == owner and is_kept_by_room


def _is_presence_in_room(element: stanza.Element, owner: str) -> bool:
    """Return whether an occupant joined or left a room, in mod_muc_mam's form."""
    room, _, nick = element.attributes.get("from", "").partition("/")
    return element.name == _PRESENCE and room == owner and bool(nick)


def _excess(
    children: Sequence[stanza.Element], owner: str, *, of_room: bool
) -> Iterator[stanza.Element]:
    """Yield the children that are not stored.

    mod_muc_mam puts the author's identity behind any that the author has made up.
    """
    identities = [child for child in children if of_room and child.name == _IDENTITY]
    for child in children:
        if child in identities[:-1] or _is_own_id(child, owner):
            yield child


def _without_addressee(text: str) -> str:
    """Remove the `to` of the message, which is whatever occupant Prosody wrote to last."""
    head = _HEAD.match(text)
    if head is None:
        return text
    kept = _ATTRIBUTE.sub(lambda found: "" if found[1] == "to" else found[0], head[0])
    return kept + text[head.end() :]


def _author(text: str) -> str:
    """Return the author's real bare JID, if the room showed it; empty if not."""
    raw = text.encode()
    identities = [child for child in stanza.parse(text)[1:] if child.name == _IDENTITY]
    items = [
        item.attributes.get("jid", "")
        for child in identities
        for item in stanza.parse(raw[child.start : child.end].decode())[1:]
    ]
    return jid.parse(items[-1]).bare if items and items[-1] else ""


def _text(archived: ArchivedMessage) -> str:
    """Return the stanza as XML, with the namespace that Prosody omits as the stream's."""
    if len(archived.stanza) > MAX_STANZA:
        raise InvalidEvent(f"a stanza over the limit of {MAX_STANZA} characters")
    text = _from_json(archived.stanza) if archived.form == "json" else archived.stanza.strip()
    for name in _NAMES:
        if text.startswith(f"<{name}") and stanza.parse(text)[0].name == name:
            return f"<{name} xmlns='{_CLIENT}'{text.removeprefix(f'<{name}')}"
    return text


def _is_own_id(child: stanza.Element, owner: str) -> bool:
    """Return whether a child claims to be an id that only this archive assigns (XEP-0359 §3)."""
    try:
        return child.name == _STANZA_ID and jid.parse(child.attributes["by"]).bare == owner
    except (InvalidJid, KeyError):
        return False


def _event(
    archived: ArchivedMessage,
    position: int,
    element: stanza.Element,
    stored: str,
    *,
    of_room: bool,
) -> Message:
    message = {
        "type": "message",
        "v": VERSION,
        "owner": archived.owner,
        "position": position,
        "kind": _kind(element),
        "stanza": stored,
    }
    try:
        sender = jid.parse(element.attributes.get("from", archived.owner))
        addressee = jid.parse(element.attributes.get("to", archived.owner))
        if of_room:
            message |= _of_occupant(archived.owner, sender, stored)
        else:
            message |= _of_correspondent(archived, sender, addressee)
        return msgspec.convert(message, Message)
    except InvalidJid as error:
        raise InvalidEvent(f"an address is not a JID: {error}") from None
    except msgspec.ValidationError as error:
        raise InvalidEvent(str(error)) from None


def _of_correspondent(
    archived: ArchivedMessage, sender: jid.Jid, addressee: jid.Jid
) -> dict[str, object]:
    """Return the fields of an event that tell of the other party of a user's message."""
    outgoing = sender.bare == archived.owner
    other = addressee if outgoing else sender
    return {
        "peer": jid.parse(archived.peer).bare if archived.peer else other.bare,
        "peer_resource": other.resource or "",
        "direction": "out" if outgoing else "in",
        "contact": True,
    }


def _of_occupant(room: str, sender: jid.Jid, stored: str) -> dict[str, object]:
    """Return the fields of an event that tell of the occupant who wrote a room's message."""
    return {
        "peer": room,
        "peer_resource": sender.resource or "",
        "direction": "in",
        "contact": False,
        "occupant": _author(stored),
    }


def _kind(element: stanza.Element) -> str:
    if element.name == _PRESENCE:
        return "presence"
    kind = element.attributes.get("type", "")
    return kind if kind in _KINDS else "normal"


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

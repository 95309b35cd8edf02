"""The column ``traits`` as small inserts give it: what ClickHouse computes, without its planning.

Its expression (migrations/traits.sql) is planned anew for each insert, which takes longer than all
else of a few messages. It decides for other writers, and for what was inserted before.
"""

import html
import re
from collections.abc import Iterator, Sequence

from stanzalake.model.traits import Trait

_ENCRYPTED = (
    *("conversations.axolotl", "urn:xmpp:omemo:", "urn:xmpp:openpgp:", "jabber:x:encrypted"),
    *("urn:xmpp:mls:", "urn:xmpp:otr:", "urn:xmpp:eme:", ">?OTR"),
)
_NOTABLE = (
    *("urn:xmpp:reply:", "urn:xmpp:reactions:", "urn:xmpp:message-correct:"),
    *("urn:xmpp:message-retract:", "<displayed", "<acknowledged"),
    *("jabber:x:oob", "urn:xmpp:sims:", "urn:xmpp:sfs:", *_ENCRYPTED),
)
"""Most stanzas have a body and none of these, which is looked for before their tags are."""


def _child(name: str, namespace: str) -> re.Pattern[str]:
    space = "[\\t\\n\\f\\r ]"
    return re.compile(f"<(?:{name}){space}(?:[^<]*{space})?xmlns=[\"']{namespace}[\"']", re.ASCII)


_PAYLOAD = re.compile(
    r"""[\t\n\f\r ]xmlns=["'](?:eu\.siacs\.conversations\.axolotl|jabber:x:encrypted"""
    r"""|urn:xmpp:(?:omemo|openpgp|mls|otr|eme):\w+)["']""",
    re.ASCII,
)
_REFERENCE = _child("reference", "urn:xmpp:reference:0")
_CHILDREN = (
    (_child("x", "jabber:x:oob"), Trait.ATTACHMENT),
    (_child("file-sharing", "urn:xmpp:sfs:0"), Trait.ATTACHMENT),
    (_child("reply", "urn:xmpp:reply:0"), Trait.REPLY),
    (_child("reactions", "urn:xmpp:reactions:0"), Trait.REACTION),
    (_child("replace", "urn:xmpp:message-correct:0"), Trait.CORRECTION),
    (_child("retract", "urn:xmpp:message-retract:[01]"), Trait.RETRACTION),
    (_child("displayed|acknowledged", "urn:xmpp:chat-markers:0"), Trait.DISPLAYED),
)
_FIRST_BODY = re.compile("<message[^<>]*><body>([^<]*)")
_BODY = re.compile(r"body[\t\n\f\r />]")
_NAMESPACE = re.compile(r"[\t\n\f\r ]xmlns=")
_CLIENT = re.compile(r"""[\t\n\f\r ]xmlns=["']jabber:client["']""")


def traits(stanza: str) -> int:
    """Return the kinds of a stanza's content, the bits of `Trait`.

    Args:
        stanza: As it is stored: without CDATA and comments, and with ">" escaped in attributes.
    """
    text = _body(stanza)
    found = Trait.BODY if text else Trait(0)
    if any(hint in stanza for hint in _NOTABLE):
        found |= _notable(stanza, text)
    return int(found)


def _notable(stanza: str, text: str) -> Trait:
    children = [piece.partition(">")[0] for piece in _children(stanza)]
    tags, found = "<" + "<".join(children), Trait(0)
    for child, trait in _CHILDREN:
        if child.search(tags):
            found |= trait
    if "urn:xmpp:sims:1" in stanza and _REFERENCE.search(tags):
        found |= Trait.ATTACHMENT
    if _is_encrypted(stanza, children, text):
        found |= Trait.ENCRYPTED
    return found


def _is_encrypted(stanza: str, children: Sequence[str], text: str) -> bool:
    if not any(hint in stanza for hint in _ENCRYPTED):
        return False
    return bool(_PAYLOAD.search("\n".join(children))) or html.unescape(text).startswith("?OTR")


def _body(stanza: str) -> str:
    """Return the text of the body, with its references as they are."""
    first = _FIRST_BODY.match(stanza)
    if first:
        return first[1]
    bodies = (piece for piece in _children(stanza) if _is_body(piece))
    return next(bodies, "").partition(">")[2]


def _is_body(piece: str) -> bool:
    tag = piece.partition(">")[0]
    return bool(_BODY.match(piece) and (not _NAMESPACE.search(tag) or _CLIENT.search(tag)))


def _children(stanza: str) -> Iterator[str]:
    """Yield what begins with the start tag of a child, from behind its "<" up to the next tag."""
    depth = 0  # within the stanza it is 1
    for piece in stanza.split("<"):
        if piece.startswith("/"):
            depth -= 1
        elif piece:
            if depth == 1:
                yield piece
            depth += not piece.partition(">")[0].endswith("/")

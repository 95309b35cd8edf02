"""Exclusion: removal of a stanza's children by namespace before storing."""

import functools
from collections.abc import Collection, Sequence

from lxml import etree

from stanzalake.errors import InvalidEvent

_MESSAGE = "{jabber:client}message"
_NONE = "{}-"
# Shared: creating a parser takes as long as parsing a stanza.
_parser = etree.XMLParser(resolve_entities=False, collect_ids=False)


def strip(stanza: str, namespaces: Collection[str]) -> str | None:
    """Return the stanza to store.

    Only direct children are removed, as by mod_mam's ``dont_archive_namespaces``. A stanza without
    such children is returned unchanged, so that signatures stay valid (XEP-0297 §3.2).

    Args:
        stanza: A message element with ``xmlns='jabber:client'``.
        namespaces: The excluded namespaces.

    Returns:
        The stanza, or None if no child element is left.

    Raises:
        InvalidEvent: Not a well-formed message element.
    """
    message = _parse(stanza)
    # Filtered by libxml2, without a Python object for each remaining child.
    excluded = list(message.iterchildren(*_any_of(frozenset(namespaces))))
    if len(excluded) == len(message):
        return None
    if not excluded:
        return stanza
    for child in excluded:
        _remove(message, child)
    return etree.tostring(message, encoding="unicode")


def _parse(stanza: str) -> etree._Element:
    # A stanza has no DTD, comment or processing instruction (RFC 6120 §11.1).
    if "<!" in stanza or "<?" in stanza:
        raise InvalidEvent("the stanza has XML that XMPP forbids")
    try:
        message = etree.fromstring(stanza, _parser)
    except etree.XMLSyntaxError as error:
        raise InvalidEvent(f"the stanza is not well-formed, in column {error.offset}") from None
    if message.tag != _MESSAGE:
        raise InvalidEvent("the stanza is not a message of jabber:client")
    return message


@functools.cache
def _any_of(namespaces: frozenset[str]) -> Sequence[str]:
    return [f"{{{namespace}}}*" for namespace in namespaces] or [_NONE]


def _remove(message: etree._Element, child: etree._Element) -> None:
    """Remove a child, and keep the text after it."""
    if child.tail:
        before = child.getprevious()
        if before is None:
            message.text = (message.text or "") + child.tail
        else:
            before.tail = (before.tail or "") + child.tail
    message.remove(child)

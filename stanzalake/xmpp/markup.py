"""XML as text, for all stanzas that the query service sends.

No whitespace stands between elements: Prosody's mod_delegation counts text as a child.
"""

from collections.abc import Mapping
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

_ENTITIES = {"\r": "&#13;"}


def element(name: str, attributes: Mapping[str, str | None], *children: str) -> str:
    """Build an element.

    Args:
        name: Name without a prefix.
        attributes: Plain values by name, including xmlns; None leaves an attribute out.
        children: Content, as markup.
    """
    given = "".join(
        f" {key}={quoteattr(value, _ENTITIES)}"
        for key, value in attributes.items()
        if value is not None
    )
    content = "".join(children)
    return f"<{name}{given}>{content}</{name}>" if content else f"<{name}{given}/>"


def text(value: str) -> str:
    """Escape plain text."""
    return escape(value, _ENTITIES)


def childless(element: Element) -> Element:
    """Copy an element's name and attributes."""
    return Element(element.tag, element.attrib)


def reply(iq: Element, kind: str, content: str) -> str:
    """Build the reply to an iq: same id, to and from swapped (RFC 6120 §8.2.3).

    Args:
        iq: The request.
        kind: "result" or "error".
        content: Children, as markup.
    """
    attributes = {
        "type": kind,
        "id": iq.get("id"),
        "from": iq.get("to"),
        "to": iq.get("from"),
    }
    return element("iq", attributes, content)

"""XML as text: what the query service sends is built here and nowhere parsed again.

No whitespace stands between elements: Prosody's mod_delegation counts text as a child.
"""

from collections.abc import Mapping
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

_ENTITIES = {"\r": "&#13;"}


def element(name: str, attributes: Mapping[str, str | None], *children: str) -> str:
    """Give an element.

    Args:
        name: Its name, without a prefix.
        attributes: Names and plain values, xmlns among them; those of None are left out.
        children: Its content, as markup.
    """
    given = "".join(
        f" {key}={quoteattr(value, _ENTITIES)}"
        for key, value in attributes.items()
        if value is not None
    )
    content = "".join(children)
    return f"<{name}{given}>{content}</{name}>" if content else f"<{name}{given}/>"


def text(value: str) -> str:
    """Give plain text as markup."""
    return escape(value, _ENTITIES)


def childless(element: Element) -> Element:
    """Copy an element's name and attributes."""
    return Element(element.tag, element.attrib)


def reply(iq: Element, kind: str, content: str) -> str:
    """Give the answer to an iq: same id, to and from swapped (RFC 6120 §8.2.3).

    Args:
        iq: What is answered.
        kind: "result" or "error".
        content: The answer's children, as markup.
    """
    attributes = {
        "type": kind,
        "id": iq.get("id"),
        "from": iq.get("to"),
        "to": iq.get("from"),
    }
    return element("iq", attributes, content)

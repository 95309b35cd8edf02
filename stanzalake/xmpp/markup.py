"""XML as text, for all stanzas that the query service sends.

No whitespace stands between elements: Prosody's mod_delegation counts text as a child.
"""

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

_ENTITIES = {"\r": "&#13;"}
_SPECIAL = re.compile('[&<>"\n\r\t]')


def element(name: str, values: Mapping[str, str | None], *children: str) -> str:
    """Build an element.

    Args:
        name: Name without a prefix.
        values: Plain values of attributes by name, including xmlns; None leaves one out.
        children: Content, as markup.
    """
    tag, content = f"{name}{attributes(values)}", "".join(children)
    return f"<{tag}>{content}</{name}>" if content else f"<{tag}/>"


def attributes(values: Mapping[str, str | None]) -> str:
    """Write attributes as they stand behind a name in a start tag; those of None are left out."""
    return "".join(f" {key}={quote(value)}" for key, value in values.items() if value is not None)


def quote(value: str) -> str:
    """Write the value of an attribute, with its quotes."""
    return quoteattr(value, _ENTITIES) if _SPECIAL.search(value) else f'"{value}"'


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
    values = {
        "type": kind,
        "id": iq.get("id"),
        "from": iq.get("to"),
        "to": iq.get("from"),
    }
    return element("iq", values, content)

"""Parts of requests, as XML has them."""

from typing import TYPE_CHECKING

from query.errors import StanzaError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def boolean(text: str) -> bool:
    """Parse a boolean (XML Schema part 2, §3.2.2).

    Raises:
        ValueError: It is none.
    """
    if text not in _BOOLEANS:
        raise ValueError("expected true, false, 1 or 0")
    return _BOOLEANS[text]


def only(parent: "Element", name: str) -> "Element | None":
    """Return the child of a name, if there is one.

    Raises:
        StanzaError: bad-request if there are several.
    """
    found = parent.findall(name)
    if len(found) > 1:
        _, _, local = parent.tag.rpartition("}")
        raise StanzaError("bad-request", f"a child of the {local} comes more than once")
    return found[0] if found else None

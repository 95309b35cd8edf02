"""Stanza errors: the only thing that a client is ever told about a failure (RFC 6120 §8.3)."""

from types import MappingProxyType
from typing import Literal

from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import STANZAS

Condition = Literal[
    "bad-request",
    "feature-not-implemented",
    "forbidden",
    "internal-server-error",
    "item-not-found",
    "policy-violation",
    "resource-constraint",
    "service-unavailable",
]

_TYPES = MappingProxyType(
    {
        "bad-request": "modify",
        "feature-not-implemented": "cancel",
        "forbidden": "auth",
        "internal-server-error": "cancel",
        "item-not-found": "cancel",
        "policy-violation": "modify",
        "resource-constraint": "wait",
        "service-unavailable": "cancel",
    }
)
"""The usual type of each condition (RFC 6120 §8.3.3)."""


class StanzaError(Exception):
    """A request to be answered with an error.

    Args:
        condition: A defined condition.
        text: For the client's developer; quotes neither the request nor internals.
    """

    def __init__(self, condition: Condition, text: str = "") -> None:
        super().__init__(condition)
        self.condition = condition
        self.text = text

    def markup(self) -> str:
        """Build the ``<error/>`` element."""
        defined = markup.element(self.condition, {"xmlns": STANZAS})
        attributes = {"type": _TYPES[self.condition]}
        return markup.element("error", attributes, defined, self._explanation())

    def _explanation(self) -> str:
        if not self.text:
            return ""
        attributes = {"xmlns": STANZAS, "xml:lang": "en"}
        return markup.element("text", attributes, markup.text(self.text))

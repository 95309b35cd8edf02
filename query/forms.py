"""The search form of XEP-0313 §4.1 and XEP-0431 §3.1, as served and as submitted (XEP-0004)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from query.elements import boolean
from query.errors import StanzaError
from stanzalake.model import full_text, jid
from stanzalake.model.full_text import TextQuery
from stanzalake.xmpp import dates, markup
from stanzalake.xmpp.namespaces import DATA, FULL_TEXT, MAM, VALIDATE, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_FIELDS = 64
MAX_IDS = 1000
MAX_VALUE = 3071
"""Characters of a value at most: the longest JID (RFC 6122 §2.1)."""

TEXT_FIELD = tag(FULL_TEXT, "fulltext")
"""Name of the field of a full-text search (XEP-0431 §3.1)."""


@dataclass(frozen=True)
class Filters:
    """Conditions of a search, all of which apply.

    Attributes:
        peer: The other party; a bare JID stands for all its resources.
        start: First millisecond, unix time.
        end: Last millisecond, unix time.
        before_id: Only messages older than this id.
        after_id: Only messages newer than this id.
        ids: Only these.
        groupchat: Whether to include messages of type groupchat.
        text: Full-text query that the body matches.
    """

    peer: jid.Jid | None = None
    start: int | None = None
    end: int | None = None
    before_id: str | None = None
    after_id: str | None = None
    ids: tuple[str, ...] | None = None
    groupchat: bool = True
    text: TextQuery | None = None


def parse(form: "Element | None") -> Filters:
    """Read a submitted form, or its absence.

    Raises:
        StanzaError: feature-not-implemented for an unknown field (XEP-0313 §4.1.5), bad-request
            for any other deviation from the form: to ignore a field would widen the search.
    """
    values = {} if form is None else _values(form)
    if not values:
        return Filters()
    if values.pop("FORM_TYPE", None) != [MAM]:
        raise StanzaError("bad-request", f"FORM_TYPE is not {MAM}")
    if not values.keys() <= _READERS.keys():
        raise StanzaError("feature-not-implemented", "the form has an unknown field")
    return Filters(**dict(_read(name, given) for name, given in values.items()))


def _values(form: "Element") -> dict[str, list[str]]:
    if form.get("type", "submit") != "submit":
        raise StanzaError("bad-request", "the form's type is not submit")
    fields = [field for field in form.findall(tag(DATA, "field")) if field.get("type") != "fixed"]
    if len(fields) > MAX_FIELDS:
        raise StanzaError("bad-request", "the form has too many fields")
    names = [field.get("var", "") for field in fields]
    if "" in names or len(set(names)) < len(names):
        raise StanzaError("bad-request", "a field has no name, or comes more than once")
    return {name: list(_texts(field)) for name, field in zip(names, fields, strict=True)}


def _texts(field: "Element") -> Iterator[str]:
    return (value.text or "" for value in field.findall(tag(DATA, "value")))


def _read(name: str, given: Sequence[str]) -> tuple[str, Any]:
    attribute, read = _READERS[name]
    try:
        return attribute, read(given)
    except ValueError:
        raise StanzaError("bad-request", f"the field {name} cannot be used") from None


def _single(read: Callable[[str], Any]) -> Callable[[Sequence[str]], Any]:
    def read_one(given: Sequence[str]) -> Any:
        [value] = _bounded(given, 1)
        return read(value)

    return read_one


def _bounded(given: Sequence[str], limit: int) -> tuple[str, ...]:
    if not 1 <= len(given) <= limit or not all(1 <= len(value) <= MAX_VALUE for value in given):
        raise ValueError("too many values, none, or one of a wrong length")
    return tuple(given)


def _text(given: Sequence[str]) -> TextQuery | None:
    """Parse a text to search for; an empty one searches for nothing (XEP-0431 §2.2)."""
    [value] = given
    return full_text.parse(value)


_READERS: Mapping[str, tuple[str, Callable[[Sequence[str]], Any]]] = {
    "with": ("peer", _single(jid.parse)),
    "start": ("start", _single(partial(dates.parse, up=True))),
    "end": ("end", _single(partial(dates.parse, up=False))),
    "before-id": ("before_id", _single(str)),
    "after-id": ("after_id", _single(str)),
    "ids": ("ids", partial(_bounded, limit=MAX_IDS)),
    "include-groupchat": ("groupchat", _single(boolean)),
    TEXT_FIELD: ("text", _text),
}
"""Attribute of Filters and parser of the values, by field."""


def _field(name: str, kind: str, *children: str) -> str:
    return markup.element("field", {"type": kind, "var": name}, *children)


_OPEN_STRINGS = markup.element(
    "validate", {"xmlns": VALIDATE, "datatype": "xs:string"}, markup.element("open", {})
)

FORM = markup.element(
    "x",
    {"xmlns": DATA, "type": "form"},
    _field("FORM_TYPE", "hidden", markup.element("value", {}, MAM)),
    _field("with", "jid-single"),
    _field("start", "text-single"),
    _field("end", "text-single"),
    _field("before-id", "text-single"),
    _field("after-id", "text-single"),
    _field("ids", "list-multi", _OPEN_STRINGS),
    _field("include-groupchat", "boolean"),
    _field(TEXT_FIELD, "text-single"),
)
"""The form offered to clients (XEP-0313 §4.1.5), as markup."""

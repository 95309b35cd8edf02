"""Stanzas: validation, and removal of excluded children.

A stanza is whatever Prosody's parser accepts: expat with a namespace separator that cannot occur in
XML (util.xmppstream), without the parts of XML that RFC 6120 §11.1 forbids. Other parsers refuse
some of that, such as a space in a namespace or deep nesting, and are not asked.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from xml.parsers import expat

from stanzalake.errors import InvalidStanza

SEPARATOR = "\1"
"""Between a namespace and a local name, as in Prosody."""

_MESSAGE = f"jabber:client{SEPARATOR}message"
_ANY = ("",)
_XML = "http://www.w3.org/XML/1998/namespace"
_XML_ATTRIBUTES = {f"{_XML}{SEPARATOR}{name}" for name in ("lang", "space", "base", "id")}
_SPELLINGS = frozenset("&<>'\" \t\r\n")
"""Characters with several spellings in an attribute, besides a character reference."""


class Element(NamedTuple):
    """An element of a stanza's text.

    Attributes:
        name: Namespace, separator and local name; without a namespace the local name alone.
        attributes: Values by name, in the same form.
        start: Offset of the element's first byte in the UTF-8 text.
        end: Offset of the first byte after the element.
    """

    name: str
    attributes: Mapping[str, str]
    start: int
    end: int


def strip(text: str, namespaces: frozenset[str]) -> str | None:
    """Return the text of a stanza to store.

    Only direct children are removed, as by mod_mam's ``dont_archive_namespaces``. Everything else
    is unchanged to the letter, so that signatures stay valid (XEP-0297 §3.2).

    Args:
        text: A message element with ``xmlns='jabber:client'``.
        namespaces: The excluded namespaces.

    Returns:
        The text, or None if no child element is left.

    Raises:
        InvalidStanza: Not a message that Prosody's parser accepts.
    """
    for hint in _hints(namespaces):
        if hint in text:
            return _strip_children(text, namespaces)
    if _may_disguise(text):
        return _strip_children(text, namespaces)
    names = _element_names(_encode(text))
    _require_message(names[-1])
    return text if len(names) > 1 else None


def parse(text: str) -> Sequence[Element]:
    """Return a stanza's element, followed by its direct children.

    Raises:
        InvalidStanza: Not an element that Prosody's parser accepts.
    """
    raw = _encode(text)
    scanner = _Scanner(_ANY)
    scanner.scan(raw)
    return [Element(*scanner.root, 0, len(raw)), *scanner.found]


def cut(text: str, elements: Iterable[Element]) -> str:
    """Return a stanza's text without some of its children, which are in document order."""
    raw = text.encode()
    kept, position = [], 0
    for element in elements:
        kept.append(raw[position : element.start])
        position = element.end
    return b"".join([*kept, raw[position:]]).decode()


def require_serialisable(text: str) -> None:
    """Check that Prosody can pass on a stanza: what its util.stanza writes is well-formed again.

    Raises:
        InvalidStanza: It would end the stream of each client that reads it.
    """
    parser = expat.ParserCreate(None, SEPARATOR)
    parser.StartElementHandler = _require_serialisable
    _run(parser, _encode(text))


def _require_serialisable(name: str, attributes: Mapping[str, str]) -> None:
    names = [name, *(attribute for attribute in attributes if attribute not in _XML_ATTRIBUTES)]
    namespaces = {qualified.rpartition(SEPARATOR)[0] for qualified in names}
    # Written as they are: parsers turn them into spaces, which may make two names the same.
    if _XML in namespaces or any(set("\t\n\r") & set(namespace) for namespace in namespaces):
        raise InvalidStanza("the stanza has namespaces that Prosody cannot pass on")


@functools.cache
def _hints(namespaces: frozenset[str]) -> Sequence[str]:
    """Return texts, one of which is in any plainly written stanza with an excluded child."""
    ambiguous = not _SPELLINGS.isdisjoint("".join(namespaces))
    return ("",) if ambiguous else tuple(namespaces)


def _may_disguise(text: str) -> bool:
    """Return whether a stanza may have markup that XMPP forbids, or character references."""
    # To look for a single character first is much faster, and most stanzas have none of these.
    return (
        ("!" in text and "<!" in text)
        or ("?" in text and "<?" in text)
        or ("#" in text and "&#" in text)
    )


@functools.cache
def _prefixes(namespaces: frozenset[str]) -> tuple[str, ...]:
    return tuple(namespace + SEPARATOR for namespace in namespaces)


def _strip_children(text: str, namespaces: frozenset[str]) -> str | None:
    scanner = _Scanner(_prefixes(namespaces))
    scanner.scan(_encode(text))
    _require_message(scanner.root[0])
    if len(scanner.found) == scanner.children:
        return None
    return cut(text, scanner.found) if scanner.found else text


def _element_names(raw: bytes) -> Sequence[str]:
    """Return the names of all elements, the root's last."""
    names: list[str] = []
    parser = expat.ParserCreate(None, SEPARATOR)
    parser.EndElementHandler = names.append
    _run(parser, raw)
    return names


def _require_message(name: str) -> None:
    if name != _MESSAGE:
        raise InvalidStanza("the stanza is not a message of jabber:client")


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidStanza("the stanza is not Unicode text") from None


def _run(parser: expat.XMLParserType, raw: bytes) -> None:
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        raise InvalidStanza(f"the stanza is not well-formed, in column {error.offset}") from None


def _forbid(*_: object) -> None:
    raise InvalidStanza("the stanza has XML that XMPP forbids")


class _Scanner:
    """Finds direct children of an element by namespace.

    expat reports where an event begins, not where it ends. A child ends where the next event
    begins: a text, another child, or the end tag of the root. Handlers in Python are as few as
    possible, since each call of one costs as much as expat's own work on an element.

    Args:
        prefixes: Prefixes of the names of children to find.

    Attributes:
        root: Name and attributes of the root.
        children: Number of direct children.
        found: Children found, in document order.
    """

    __slots__ = (
        "_begun",
        "_ended",
        "_parser",
        "_prefixes",
        "_started",
        "children",
        "found",
        "root",
    )

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self._prefixes = prefixes
        self._parser = expat.ParserCreate(None, SEPARATOR)
        self._started = 0
        self._ended: list[str] = []
        self._begun: tuple[str, Mapping[str, str], int] | None = None
        self.root: tuple[str, Mapping[str, str]] = ("", {})
        self.children = 0
        self.found: list[Element] = []

    def scan(self, raw: bytes) -> None:
        """Parse a stanza.

        Raises:
            InvalidStanza: Not an element that Prosody's parser accepts.
        """
        parser = self._parser
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._ended.append
        parser.CommentHandler = parser.ProcessingInstructionHandler = _forbid
        parser.StartDoctypeDeclHandler = parser.XmlDeclHandler = _forbid
        try:
            _run(parser, raw)
        finally:
            # Or the parser and its handlers would wait for the cyclic collector.
            del self._parser

    def _on_start(self, name: str, attributes: Mapping[str, str]) -> None:
        depth = self._started - len(self._ended)
        self._started += 1
        if depth == 1:
            if self._begun:
                self._on_next()
            self.children += 1
            if name.startswith(self._prefixes):
                self._begun = name, attributes, self._parser.CurrentByteIndex
                self._parser.EndElementHandler = self._on_end
        elif depth == 0:
            self.root = name, attributes

    def _on_end(self, name: str) -> None:
        """Handle the end of a child to be found, of an element in it, or of the root after it."""
        depth = self._started - len(self._ended)
        if depth == 1:
            self._on_next()
        elif depth == 2:  # noqa: PLR2004  # the child's own end
            self._parser.CharacterDataHandler = self._on_next
            self._parser.StartCdataSectionHandler = self._on_next
        self._ended.append(name)

    def _on_next(self, *_: object) -> None:
        """Handle the event after a child."""
        parser = self._parser
        if self._begun:
            self.found.append(Element(*self._begun, parser.CurrentByteIndex))
            self._begun = None
        parser.CharacterDataHandler = parser.StartCdataSectionHandler = None
        parser.EndElementHandler = self._ended.append

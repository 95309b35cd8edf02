"""Incremental parser of portable export files (XEP-0227): finds messages and preferences.

Uses expat as Prosody does, so that every message that Prosody would have delivered is found. A
message is cut out of the file as text and validated later, on its own. An entry that is not
well-formed is skipped, and parsing continues after the entry's end tag.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from stanzalake.model.event import MAX_STANZA
from stanzalake.xmpp.stanza import SEPARATOR

MAX_ENTRY: Final = 4 * MAX_STANZA
"""Bytes of a message with its wrapping, or of a user's preferences."""
MAX_TAG: Final = 16 * 1024 * 1024
"""Bytes of a tag or comment, which expat holds in memory."""
MAX_OPEN: Final = 8 * MAX_STANZA
"""Characters in the names of open elements, counting `_PER_ELEMENT` more for each."""

_PER_ELEMENT: Final = 32
_CONTENT_DEPTH: Final = 2
"""Depth of messages, delays and list entries below their entry."""
_PIE: Final = f"urn:xmpp:pie:0{SEPARATOR}"
_MAM: Final = f"urn:xmpp:mam:2{SEPARATOR}"
_HOST, _USER = f"{_PIE}host", f"{_PIE}user"
_ARCHIVE: Final = f"urn:xmpp:pie:0#mam{SEPARATOR}archive"
_RESULT, _PREFS = f"{_MAM}result", f"{_MAM}prefs"
_INCLUDE: Final = f"http://www.w3.org/2001/XInclude{SEPARATOR}include"
_FORWARDED: Final = f"urn:xmpp:forward:0{SEPARATOR}forwarded"
_DELAY: Final = (_FORWARDED, f"urn:xmpp:delay{SEPARATOR}delay")
_MESSAGE: Final = (_FORWARDED, f"jabber:client{SEPARATOR}message")
_LISTS: Final = {(f"{_MAM}{name}", f"{_MAM}jid"): name for name in ("always", "never")}
"""Names of the lists in preferences, by the names of the enclosing element and the entry."""
_TAG_NAME: Final = re.compile(rb"<([^\s/>]+)")
_MAX_END_TAG: Final = 1024
_ENCODINGS: Final = frozenset({"utf-8", "utf8", "us-ascii"})


class Refused(Exception):
    """A file that is not read to the end; the text is the reason and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Context:
    """Enclosing elements.

    Attributes:
        host: The host's `jid`, as written; empty outside of hosts.
        user: The user's `name`, as written; empty outside of users.
    """

    host: str = ""
    user: str = ""


@dataclass(slots=True)
class Entry:
    """A message or the preferences of an archive.

    Attributes:
        context: The enclosing host and user.
        attributes: Attributes of the `result` or `prefs` element.
        line: Line of the element.
        of_user: Whether the archive is a user's, not a room's.
        is_message: Whether this is a message; preferences otherwise.
        message: The message element as text, if there is one.
        stamp: The delay's stamp, if there is one.
        lists: Entries of the preferences' lists, by the list's name.
        error: Reason for which there is no content; empty for a valid entry.
    """

    context: Context
    attributes: Mapping[str, str]
    line: int
    of_user: bool
    is_message: bool
    message: str | None = None
    stamp: str | None = None
    lists: dict[str, list[str]] = field(default_factory=lambda: {"always": [], "never": []})
    error: str = ""


@dataclass(frozen=True, slots=True)
class Include:
    """A reference to another file, whose content belongs here.

    Attributes:
        context: The enclosing host and user.
        href: Relative path of the file.
    """

    context: Context
    href: str


def parse(chunks: Iterable[bytes], context: Context) -> Iterator[Entry | Include]:
    """Parse a file, and yield its entries and inclusions in document order.

    Args:
        chunks: The file's content.
        context: Elements that enclose the whole file.

    Raises:
        Refused: The file is not well-formed outside of entries or truncated, has a document type,
            another encoding than UTF-8, an endless tag, or elements nested too deeply.
    """
    stream = _Stream(chunks)
    parser = _Parser(context)
    for chunk in stream:
        parser.feed(chunk)
        yield from parser.take()
        if parser.broken is not None:
            parser = _resume(parser, parser.broken, stream)
    parser.feed(b"", final=True)
    yield from parser.take()


def _resume(parser: "_Parser", end_tag: re.Pattern[bytes], stream: "_Stream") -> "_Parser":
    """Skip an entry that is not well-formed, and return a parser for the rest of the file."""
    stream.push_back(parser.unparsed())
    lines = stream.skip(end_tag)
    if lines is None:
        raise Refused(f"line {parser.line}: not well-formed")
    return _Parser(parser.context, parser.line + lines, parser.ancestors)


class _Stream:
    """Chunks of a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._rest or next(self._chunks, b""):
            self._rest = b""
            yield chunk

    def push_back(self, data: bytes) -> None:
        """Insert bytes before the next chunk."""
        self._rest = data + self._rest

    def skip(self, end: re.Pattern[bytes]) -> int | None:
        """Skip everything up to and including a match.

        Returns:
            The number of lines skipped; None if there is no match.
        """
        lines = 0
        while (match := end.search(self._rest)) is None:
            keep = max(0, len(self._rest) - _MAX_END_TAG)
            lines += self._rest.count(b"\n", 0, keep)
            chunk = next(self._chunks, b"")
            if not chunk:
                return None
            self._rest = self._rest[keep:] + chunk
        lines += self._rest.count(b"\n", 0, match.end())
        self._rest = self._rest[match.end() :]
        return lines


class _Parser:
    """Parses a document, or the rest of a document inside of known elements.

    Args:
        context: Enclosing host and user.
        line: The line at which this part of the file begins.
        ancestors: Start tags of the elements that are open already.

    Attributes:
        context: Enclosing host and user, so far.
        ancestors: Start tags of the open elements outside of entries.
        broken: The end tag of an entry that is not well-formed, where parsing has ended.
    """

    def __init__(self, context: Context, line: int = 1, ancestors: Iterable[bytes] = ()) -> None:
        self.context = context
        self.ancestors: list[bytes] = []
        self.broken: re.Pattern[bytes] | None = None
        self._line = line - 1
        self._found: list[Entry | Include] = []
        self._names: list[str] = []
        self._open = 0
        self._entry: Entry | None = None
        self._entry_tag = b""
        self._entry_depth = self._entry_start = 0
        self._message: _Slice | None = None
        self._window = _Window()
        self._namespaces = _Namespaces()
        self._expat = self._create()
        self.feed(b"".join(ancestors))
        self.context = context

    def _create(self) -> expat.XMLParserType:
        parser = expat.ParserCreate("utf-8", SEPARATOR)
        parser.XmlDeclHandler = _require_utf8
        parser.StartDoctypeDeclHandler = _forbid_doctype
        parser.StartNamespaceDeclHandler = self._namespaces.begin
        parser.EndNamespaceDeclHandler = self._namespaces.end
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._on_end
        parser.CharacterDataHandler = self._on_text
        parser.DefaultHandler = self._on_other
        return parser

    @property
    def line(self) -> int:
        """The line of the current event or error."""
        return self._line + self._expat.CurrentLineNumber

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        """Parse a chunk; raises as `parse` does."""
        self._window.append(chunk)
        try:
            self._expat.Parse(chunk, final)
        except expat.ExpatError:
            self._break_entry()
        except Refused as error:
            raise Refused(f"line {self.line}: {error}") from None
        else:
            self._bound()

    def take(self) -> Iterable[Entry | Include]:
        """Return the entries and inclusions found since the last call."""
        found, self._found = self._found, []
        return found

    def unparsed(self) -> bytes:
        """Return the bytes from the place of an error on."""
        return self._window.slice(self._expat.ErrorByteIndex, self._window.end)

    def _break_entry(self) -> None:
        if self._entry is None:
            raise Refused(f"line {self.line}: not well-formed")
        self._entry.error = "not well-formed"
        self._found.append(self._entry)
        self.broken = re.compile(rb"</%b\s*>" % re.escape(self._entry_tag))

    def _bound(self) -> None:
        """Limit the size of entries and tags, and drop the bytes that are not needed again."""
        parsed = max(0, self._expat.CurrentByteIndex)  # -1 before the first byte
        if self._window.end - parsed > MAX_TAG:
            raise Refused(f"line {self.line}: a tag without end")
        if self._entry is not None and self._window.end - self._entry_start > MAX_ENTRY:
            self._entry.error = f"over the limit of {MAX_ENTRY} bytes"
            self._message = None
        self._window.drop(parsed if self._message is None else self._message.start)

    def _on_start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._end_message()
        self._open += len(name) + _PER_ELEMENT
        if self._open > MAX_OPEN:
            raise Refused("its elements are nested too deeply")
        if self._entry is None:
            self._enter(name, attributes)
        else:
            self._on_content(self._entry, name, attributes)
        self._names.append(name)
        self._namespaces.next_element()

    def _tag_name(self) -> bytes:
        """Return the name in the current start tag as written, with a prefix."""
        start = self._expat.CurrentByteIndex
        match = _TAG_NAME.match(self._window.slice(start, start + _MAX_END_TAG))
        return b"" if match is None else match[1]

    def _enter(self, name: str, attributes: Mapping[str, str]) -> None:
        """Handle an element outside of entries."""
        if name == _HOST:
            self.context = Context(attributes.get("jid", ""))
        elif name == _USER:
            self.context = Context(self.context.host, attributes.get("name", ""))
        elif name == _INCLUDE:
            self._found.append(Include(self.context, attributes.get("href", "")))
        if name in {_RESULT, _PREFS} and self._in_archive(name):
            self._begin_entry(name, attributes)
        else:
            tag = self._tag_name() + self._namespaces.own().encode()
            self.ancestors.append(b"<%b>" % tag)

    def _in_archive(self, name: str) -> bool:
        is_user, in_archive = self._names[-1:] == [_USER], self._names[-1:] == [_ARCHIVE]
        return in_archive if name == _RESULT else is_user or self._names[-2:] == [_USER, _ARCHIVE]

    def _begin_entry(self, name: str, attributes: Mapping[str, str]) -> None:
        of_user = _USER in self._names[-2:]
        self._entry = Entry(self.context, attributes, self.line, of_user, name == _RESULT)
        self._entry_tag = self._tag_name()
        self._entry_start = self._expat.CurrentByteIndex
        self._entry_depth = len(self._names) + 1

    def _on_content(self, entry: Entry, name: str, attributes: Mapping[str, str]) -> None:
        """Handle an element of an entry."""
        if entry.error or len(self._names) != self._entry_depth + 1:
            return
        path = (self._names[-1], name)
        if path == _DELAY and entry.stamp is None:
            entry.stamp = attributes.get("stamp", "")
        elif path == _MESSAGE and entry.message is None:
            start, namespaces = self._expat.CurrentByteIndex, self._namespaces.outer()
            self._message = _Slice(start, namespaces)
        elif path in _LISTS:
            entry.lists[_LISTS[path]].append("")

    def _on_end(self, name: str) -> None:
        self._end_message()
        self._open -= len(name) + _PER_ELEMENT
        depth = len(self._names) - self._entry_depth
        if self._entry is None:
            self.ancestors.pop()
        elif depth == 0:
            self._found.append(self._entry)
            self._entry = None
        elif self._message is not None and depth == _CONTENT_DEPTH:
            self._message.ended = True
        self._names.pop()

    def _on_text(self, text: str) -> None:
        self._end_message()
        if self._entry is None or self._entry.error:
            return
        if len(self._names) == self._entry_depth + _CONTENT_DEPTH:
            name = _LISTS.get((self._names[-2], self._names[-1]))
            if name is not None:
                self._entry.lists[name][-1] += text

    def _on_other(self, _: str) -> None:
        self._end_message()

    def _end_message(self) -> None:
        """Cut out a message that has ended: expat tells the end only by the next event."""
        message, entry = self._message, self._entry
        if message is not None and entry is not None and message.ended:
            raw = self._window.slice(message.start, self._expat.CurrentByteIndex)
            entry.message, self._message = message.text(raw), None


@dataclass(slots=True)
class _Slice:
    """A message in the file.

    Attributes:
        start: Offset of the start tag.
        namespaces: Namespaces declared outside of the message, by prefix.
        ended: Whether the end tag was found.
    """

    start: int
    namespaces: Mapping[str | None, str]
    ended: bool = False

    def text(self, raw: bytes) -> str:
        """Return the message as text, with the declarations that are inherited and used."""
        tag = _TAG_NAME.match(raw)
        end = 0 if tag is None else tag.end()
        used = {
            prefix: uri
            for prefix, uri in self.namespaces.items()
            if prefix is None or f"{prefix}:".encode() in raw
        }
        return raw[:end].decode() + _declarations(used) + raw[end:].decode()


class _Window:
    """The last bytes of the file, addressed by their offsets in the file."""

    def __init__(self) -> None:
        self._start = 0
        self._bytes = bytearray()

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self._start + len(self._bytes)

    def append(self, chunk: bytes) -> None:
        """Add the next bytes."""
        self._bytes += chunk

    def drop(self, end: int) -> None:
        """Forget the bytes before an offset."""
        del self._bytes[: end - self._start]
        self._start = end

    def slice(self, start: int, end: int) -> bytes:
        """Return the bytes between two offsets."""
        return bytes(self._bytes[start - self._start : end - self._start])


class _Namespaces:
    """The namespace declarations in scope."""

    def __init__(self) -> None:
        self._uris: dict[str | None, list[str]] = {}
        self._own: dict[str | None, str] = {}

    def begin(self, prefix: str | None, uri: str | None) -> None:
        """Handle a declaration, which expat reports before the element's start tag."""
        self._uris.setdefault(prefix, []).append(uri or "")
        self._own[prefix] = uri or ""

    def end(self, prefix: str | None) -> None:
        """Handle the end of a declaration's scope."""
        self._uris[prefix].pop()
        if not self._uris[prefix]:
            del self._uris[prefix]

    def next_element(self) -> None:
        """Handle the end of a start tag."""
        self._own.clear()

    def own(self) -> str:
        """Return the declarations of the current start tag, as in a tag."""
        return _declarations(self._own)

    def outer(self) -> Mapping[str | None, str]:
        """Return the declarations of the enclosing elements that the current one inherits."""
        return {prefix: uris[-1] for prefix, uris in self._uris.items() if prefix not in self._own}


def _declarations(namespaces: Mapping[str | None, str]) -> str:
    return "".join(
        f" {'xmlns' if prefix is None else f'xmlns:{prefix}'}={quoteattr(uri)}"
        for prefix, uri in namespaces.items()
    )


def _require_utf8(_: str, encoding: str | None, __: int) -> None:
    if encoding is not None and encoding.lower() not in _ENCODINGS:
        raise Refused("its encoding is not UTF-8: convert it with iconv")


def _forbid_doctype(*_: object) -> None:
    raise Refused("it has a document type, which such a file must not have")

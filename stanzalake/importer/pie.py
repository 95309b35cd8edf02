"""Portable export files (XEP-0227, archives in urn:xmpp:pie:0#mam), as many servers write them.

Parsed incrementally: memory holds a single message, whatever the size of the file. Document types
are refused, entities stay unresolved, and nothing is fetched.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, get_args

import zstandard
from lxml import etree

from stanzalake.errors import InvalidJid, SourceUnavailable
from stanzalake.importer.source import (
    ArchivedMessage,
    ArchivedPreferences,
    Foreign,
    Item,
    Selection,
    Unreadable,
)
from stanzalake.model.event import MAX_STANZA, DefaultChoice
from stanzalake.xmpp import dates, jid

_HOST: Final = "{urn:xmpp:pie:0}host"
_USER: Final = "{urn:xmpp:pie:0}user"
_ARCHIVE: Final = "{urn:xmpp:pie:0#mam}archive"
_RESULT: Final = "{urn:xmpp:mam:2}result"
_PREFS: Final = "{urn:xmpp:mam:2}prefs"
_JIDS: Final = "{urn:xmpp:mam:2}%s/{urn:xmpp:mam:2}jid"
_FORWARDED: Final = "{urn:xmpp:forward:0}forwarded"
_STAMP: Final = f"{_FORWARDED}/{{urn:xmpp:delay}}delay"
_MESSAGE: Final = f"{_FORWARDED}/{{jabber:client}}message"
_INCLUDE: Final = "{http://www.w3.org/2001/XInclude}include"

_DEFAULTS: Final[Mapping[str, DefaultChoice]] = {name: name for name in get_args(DefaultChoice)}
_CHUNK: Final = 64 * 1024
_MAX_ENTRY: Final = 4 * MAX_STANZA
"""Bytes of a message with its wrapping, or of a user's preferences."""
_MAX_UNREAD: Final = 16 * 1024 * 1024
"""Bytes without a tag; the parser itself limits only text nodes (to 10 MB)."""
_MAX_DEPTH: Final = 2
"""Levels of inclusion: a file per host, a file per user (XEP-0227 §5.1)."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file and its context.

    Attributes:
        path: The file.
        host: The enclosing VirtualHost, if any.
        owner: Bare JID of the enclosing user, if any.
        depth: Level of inclusion.
    """

    path: Path
    host: str = ""
    owner: str = ""
    depth: int = 0


class Pie:
    """A file and the files that it includes, from its directory or below, as a source.

    Args:
        path: The file; the suffix .zst means compression.
        selection: The part to import.
    """

    def __init__(self, path: Path, selection: Selection) -> None:
        self._path = path
        self._selection = selection
        self._size = _size(path)
        self._done = 0

    def size(self) -> int:
        """Return the bytes of the files found so far."""
        return self._size

    def done(self) -> int:
        """Return the bytes read."""
        return self._done

    def items(self) -> Iterator[Item]:
        """Yield messages and preferences in the file's order.

        Raises:
            SourceUnavailable: The file is not well-formed, or may not be read.
        """
        yield from self._file(_File(self._path))

    def _file(self, file: _File) -> Iterator[Item]:
        entry = _Entry()
        for event, element in self._events(file, entry):
            if event == "start":
                file = _enter(file, element)
                entry.begin(element)
            elif element is entry.element:
                yield from self._read(file, element, entry)
                entry.end()
                _drop(element)
            elif not entry.wanted:
                if element.tag == _INCLUDE:
                    yield from self._included(file, element)
                _drop(element)

    def _events(self, file: _File, entry: "_Entry") -> Iterator[tuple[str, etree._Element]]:
        parser = etree.XMLPullParser(
            ("start", "end"), resolve_entities=False, no_network=True, load_dtd=False
        )
        with _open(file.path) as (raw, stream):
            before, unread = self._done, 0
            try:
                while chunk := stream.read(_CHUNK):
                    parser.feed(chunk)
                    self._done = before + raw.tell()
                    entry.grow(len(chunk))
                    events = list(parser.read_events())
                    unread = 0 if events else unread + len(chunk)
                    if unread > _MAX_UNREAD:
                        raise SourceUnavailable(f"{file.path} has a tag without end")
                    yield from _elements(events, file.path)
                parser.close()
            except (etree.XMLSyntaxError, zstandard.ZstdError) as error:
                line = getattr(error, "lineno", None) or "?"
                raise SourceUnavailable(f"{file.path}, line {line}: not well-formed") from None

    def _included(self, file: _File, include: etree._Element) -> Iterator[Item]:
        directory = self._path.parent.resolve()
        path = (file.path.parent / include.get("href", "")).resolve()
        if not path.is_relative_to(directory) or file.depth == _MAX_DEPTH:
            raise SourceUnavailable(f"{file.path} includes what is not in its directory")
        self._size += _size(path)
        yield from self._file(replace(file, path=path, depth=file.depth + 1))

    def _read(self, file: _File, element: etree._Element, entry: "_Entry") -> Iterator[Item]:
        place = f"{file.path}, line {element.sourceline}"
        if not entry.of_user:
            yield Foreign("archives of rooms and other services", 1)
        elif file.host not in self._selection.hosts:
            yield Foreign(f"host {file.host}", 1)
        elif not file.owner:
            yield Unreadable(place, "its user has no JID")
        elif not self._selection.includes(file.owner):
            return
        elif not entry.wanted:
            yield Unreadable(place, f"over the limit of {_MAX_ENTRY} bytes")
        elif element.tag == _PREFS:
            yield _preferences(file.owner, element, place)
        else:
            yield from self._archived(file.owner, element, place)

    def _archived(self, owner: str, result: etree._Element, place: str) -> Iterator[Item]:
        message, delay = result.find(_MESSAGE), result.find(_STAMP)
        if message is None or delay is None:
            yield Unreadable(place, "it has no message of jabber:client with a delay")
            return
        try:
            at = dates.parse(delay.get("stamp", ""), up=True)
        except ValueError:
            yield Unreadable(place, "its stamp is not a date")
            return
        if at >= self._selection.since:
            # Copying drops the unused namespace declarations of enclosing elements.
            text = etree.tostring(deepcopy(message), encoding="unicode", with_tail=False)
            yield ArchivedMessage(owner, result.get("id", ""), at, "", "xml", text, place)


class _Entry:
    """The message or preferences being parsed, if any.

    Attributes:
        of_user: Whether the archive is a user's, not a room's.
        wanted: Whether the content is kept; false once the size limit is exceeded.
    """

    def __init__(self) -> None:
        self.of_user = False
        self.wanted = False
        self._element: etree._Element | None = None
        self._size = 0

    @property
    def element(self) -> etree._Element | None:
        """The entry's element."""
        return self._element

    def begin(self, element: etree._Element) -> None:
        """Handle a start tag, which may begin an entry."""
        parent = element.getparent()
        grandparent = None if parent is None else parent.getparent()
        in_archive = _is(parent, _ARCHIVE)
        in_user = _is(grandparent if in_archive else parent, _USER)
        if self._element is not None or not (
            (element.tag == _RESULT and in_archive) or (element.tag == _PREFS and in_user)
        ):
            return
        self._element, self._size = element, 0
        self.of_user = self.wanted = in_user

    def grow(self, size: int) -> None:
        """Count bytes read since the start tag."""
        self._size += size
        if self._size > _MAX_ENTRY:
            self.wanted = False

    def end(self) -> None:
        """Leave the entry."""
        self._element, self.wanted = None, False


def _is(element: etree._Element | None, tag: str) -> bool:
    return element is not None and element.tag == tag


def _elements(events: Iterable[Any], path: Path) -> Iterator[tuple[str, etree._Element]]:
    for event, element in events:
        if element.getparent() is None and element.getroottree().docinfo.internalDTD is not None:
            raise SourceUnavailable(f"{path} has a document type, which such a file must not have")
        yield event, element


def _enter(file: _File, element: etree._Element) -> _File:
    if element.tag == _HOST:
        return replace(file, host=_normalised(element.get("jid", "")), owner="")
    if element.tag == _USER:
        return replace(file, owner=_normalised(f"{element.get('name', '')}@{file.host}"))
    return file


def _normalised(written: str) -> str:
    try:
        return jid.parse(written).bare
    except InvalidJid:
        return ""


def _drop(element: etree._Element) -> None:
    """Free a finished element and its preceding siblings."""
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]


def _preferences(owner: str, prefs: etree._Element, place: str) -> Item:
    default = _DEFAULTS.get(prefs.get("default", ""))
    if default is None:
        return Unreadable(place, "its default is not always, never or roster")
    return ArchivedPreferences(owner, default, _jids(prefs, "always"), _jids(prefs, "never"), place)


def _jids(prefs: etree._Element, name: str) -> tuple[str, ...]:
    return tuple((entry.text or "").strip() for entry in prefs.iterfind(_JIDS % name))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise SourceUnavailable(f"{path}: {error.strerror}") from None


@contextmanager
def _open(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open a file, and yield the raw stream and the decompressed stream."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise SourceUnavailable(f"{path}: {error.strerror}") from None
    with raw:
        if path.suffix != ".zst":
            yield raw, raw
            return
        with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as inner:
            yield raw, inner

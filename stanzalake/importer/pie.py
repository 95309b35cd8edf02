"""Portable export files (XEP-0227, archives in urn:xmpp:pie:0#mam), as many servers write them.

Parsed incrementally: memory holds a single message, whatever the size of the file. Document types
are refused, and nothing is fetched.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, get_args

import zstandard

from stanzalake.errors import InvalidJid, SourceUnavailable
from stanzalake.importer.pie_parser import Context, Entry, Include, Refused, parse
from stanzalake.importer.source import (
    ArchivedMessage,
    ArchivedPreferences,
    Foreign,
    Item,
    Selection,
    Unreadable,
)
from stanzalake.model import jid
from stanzalake.model.event import DefaultChoice
from stanzalake.xmpp import dates

_DEFAULTS: Final[Mapping[str, DefaultChoice]] = {name: name for name in get_args(DefaultChoice)}
_CHUNK: Final = 64 * 1024
_MAX_DEPTH: Final = 2
"""Levels of inclusion: a file per host, a file per user (XEP-0227 §5.1)."""


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
        yield from self._file(self._path, Context(), 0)

    def _file(self, path: Path, context: Context, depth: int) -> Iterator[Item]:
        try:
            for found in parse(self._chunks(path), context):
                if isinstance(found, Include):
                    yield from self._included(path, found, depth)
                else:
                    yield from self._read(found, f"{path}, line {found.line}")
        except Refused as error:
            raise SourceUnavailable(f"{path}, {error}") from None

    def _chunks(self, path: Path) -> Iterator[bytes]:
        before = self._done
        try:
            with _open(path) as (raw, stream):
                while chunk := stream.read(_CHUNK):
                    self._done = before + raw.tell()
                    yield chunk
        except zstandard.ZstdError:
            raise SourceUnavailable(f"{path}: the compressed file is damaged") from None

    def _included(self, path: Path, include: Include, depth: int) -> Iterator[Item]:
        included = (path.parent / include.href).resolve()
        if not included.is_relative_to(self._path.parent.resolve()) or depth == _MAX_DEPTH:
            raise SourceUnavailable(f"{path} includes a file outside of its directory")
        self._size += _size(included)
        yield from self._file(included, include.context, depth + 1)

    def _read(self, entry: Entry, place: str) -> Iterator[Item]:
        host, owner = _owner(entry.context)
        if not entry.of_user:
            yield Foreign("archives of rooms and other services", 1)
        elif host not in self._selection.hosts:
            yield Foreign(f"host {host}", 1)
        elif not owner:
            yield Unreadable(place, "its user has no JID")
        elif self._selection.includes(owner):
            yield from self._selected(entry, owner, place)

    def _selected(self, entry: Entry, owner: str, place: str) -> Iterator[Item]:
        if entry.error:
            yield Unreadable(place, entry.error)
        elif entry.is_message:
            yield from self._message(entry, owner, place)
        else:
            yield _preferences(entry, owner, place)

    def _message(self, entry: Entry, owner: str, place: str) -> Iterator[Item]:
        if entry.message is None or entry.stamp is None:
            yield Unreadable(place, "it has no message of jabber:client with a delay")
            return
        try:
            at = dates.parse(entry.stamp, up=True)
        except ValueError:
            yield Unreadable(place, "its stamp is not a date")
            return
        if at >= self._selection.since:
            id_ = entry.attributes.get("id", "")
            yield ArchivedMessage(owner, id_, at, "", "xml", entry.message, place)


def _owner(context: Context) -> tuple[str, str]:
    """Return a host and a user's bare JID, normalised; empty if invalid."""
    host = _normalise(context.host)
    return host, _normalise(f"{context.user}@{host}")


def _normalise(written: str) -> str:
    try:
        return jid.parse(written).bare
    except InvalidJid:
        return ""


def _preferences(entry: Entry, owner: str, place: str) -> Item:
    default = _DEFAULTS.get(entry.attributes.get("default", ""))
    if default is None:
        return Unreadable(place, "its default is not always, never or roster")
    always, never = (tuple(map(str.strip, entry.lists[name])) for name in ("always", "never"))
    return ArchivedPreferences(owner, default, always, never, place)


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

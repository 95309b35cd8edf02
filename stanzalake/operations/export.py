"""Export of one owner's archive, for other servers (XEP-0227) or for scripts (JSON Lines)."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, Protocol

import msgspec
import zstandard

from stanzalake.errors import OutputFailed
from stanzalake.model.event import Preferences
from stanzalake.model.position import Sealer, to_milliseconds
from stanzalake.store.client import Row
from stanzalake.xmpp import dates, markup
from stanzalake.xmpp.namespaces import DELAY, FORWARD, MAM

PIE = "urn:xmpp:pie:0"
PIE_MAM = "urn:xmpp:pie:0#mam"
STANDARD_OUTPUT = Path("-")


class Format(Protocol):
    """An export format. Text is UTF-8."""

    def begin(self) -> str:
        """Return the header."""

    def message(self, row: Row) -> str:
        """Format a message."""

    def end(self) -> str:
        """Return the footer."""


class Xep0227:
    """XEP-0227 §4.11, including the owner's preferences (XEP-0441).

    Args:
        owner: Bare JID.
        sealer: Seals message ids.
        preferences: The owner's preferences, if any were set.
    """

    def __init__(self, owner: str, sealer: Sealer, preferences: Preferences | None) -> None:
        self._owner = owner
        self._sealer = sealer
        self._preferences = preferences

    def begin(self) -> str:
        """Open the elements that enclose the messages."""
        return f"<?xml version='1.0' encoding='UTF-8'?>\n{self._enclosing()[0]}\n"

    def message(self, row: Row) -> str:
        """Format a message as an XEP-0313 result."""
        stamp = dates.emit(to_milliseconds(row.position))
        delay = markup.element("delay", {"xmlns": DELAY, "stamp": stamp})
        forwarded = markup.element("forwarded", {"xmlns": FORWARD}, delay, row.stanza)
        result = {"xmlns": MAM, "id": _id(self._sealer, row)}
        return markup.element("result", result, forwarded) + "\n"

    def end(self) -> str:
        """Close the elements that `begin` opened."""
        return f"{self._enclosing()[1]}\n"

    def _enclosing(self) -> tuple[str, str]:
        name, _, host = self._owner.partition("@")
        archive = markup.element("archive", {"xmlns": PIE_MAM}, "\n")
        user = markup.element("user", {"name": name}, self._prefs(), archive)
        whole = markup.element(
            "server-data", {"xmlns": PIE}, markup.element("host", {"jid": host}, user)
        )
        begin, _, end = whole.partition("\n")
        return begin, end

    def _prefs(self) -> str:
        preferences = self._preferences
        if preferences is None:
            return ""
        lists = (_list("always", preferences.always), _list("never", preferences.never))
        return markup.element("prefs", {"xmlns": MAM, "default": preferences.default}, *lists)


class JsonLines:
    """JSON Lines: an object for each message.

    Args:
        sealer: Seals message ids.
    """

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def begin(self) -> str:
        """Return nothing: there is no header."""
        return ""

    def message(self, row: Row) -> str:
        """Format the fields; `position` exceeds 2^53 and needs a 64-bit integer."""
        fields = {
            "id": _id(self._sealer, row),
            "position": row.position,
            "at": dates.emit(to_milliseconds(row.position)),
            "owner": row.owner,
            "peer": row.peer,
            "peer_resource": row.peer_resource,
            "direction": row.direction,
            "kind": row.kind,
            **({"occupant": row.occupant} if row.occupant else {}),
            "stanza": row.stanza,
        }
        return msgspec.json.encode(fields).decode() + "\n"

    def end(self) -> str:
        """Return nothing: there is no footer."""
        return ""


def write(output: BinaryIO, form: Format, rows: Iterable[Row]) -> None:
    """Write an archive, message by message in constant memory.

    Args:
        output: The file; left open.
        form: The format.
        rows: The messages, oldest first.
    """
    output.write(form.begin().encode())
    for row in rows:  # noqa: FURB122  # zstandard's writer has no writelines
        output.write(form.message(row).encode())
    output.write(form.end().encode())


def make_directory(path: Path) -> None:
    """Make a directory for output, unless it is there.

    Raises:
        OutputFailed: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(f"{path} cannot be made: {error.strerror}") from None


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Open a private file for writing, which replaces `path` when the block succeeds.

    Args:
        path: The file; ``-`` for standard output. The suffix ``.zst`` means compression.

    Raises:
        OutputFailed: The file cannot be written.
    """
    try:
        with _plain(path) as plain:
            if path.suffix != ".zst":
                yield plain
                return
            with zstandard.ZstdCompressor().stream_writer(plain, closefd=False) as packed:
                yield packed
    except OSError as error:
        name = "standard output" if path == STANDARD_OUTPUT else path
        raise OutputFailed(f"{name} cannot be written: {error.strerror}") from None


@contextmanager
def _plain(path: Path) -> Iterator[BinaryIO]:
    if path == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file  # type: ignore[misc]  # tempfile's wrapper of a BinaryIO
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise


def _list(name: str, jids: Iterable[str]) -> str:
    return markup.element(name, {}, *(markup.element("jid", {}, markup.text(j)) for j in jids))


def _id(sealer: Sealer, row: Row) -> str:
    """Return the message's id as the owner's clients know it."""
    return row.legacy_id or sealer.seal(row.owner, row.position)

"""An export: one owner's archive in a file, as other servers or as scripts read it."""

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
    """How an archive is written down. All text is UTF-8."""

    def begin(self) -> str:
        """Give what stands before the first message."""

    def message(self, row: Row) -> str:
        """Give one message."""

    def end(self) -> str:
        """Give what stands behind the last message."""


class Portable:
    """XEP-0227 §4.11, with the owner's preferences as XEP-0441 writes them.

    Args:
        owner: Bare JID.
        sealer: Makes the ids.
        preferences: What the owner wants archived; None if nothing was said.
    """

    def __init__(self, owner: str, sealer: Sealer, preferences: Preferences | None) -> None:
        self._owner = owner
        self._sealer = sealer
        self._preferences = preferences

    def begin(self) -> str:
        """Open the elements around the messages."""
        return f"<?xml version='1.0' encoding='UTF-8'?>\n{self._around()[0]}\n"

    def message(self, row: Row) -> str:
        """Give a result of XEP-0313."""
        stamp = dates.emit(to_milliseconds(row.position))
        delay = markup.element("delay", {"xmlns": DELAY, "stamp": stamp})
        forwarded = markup.element("forwarded", {"xmlns": FORWARD}, delay, row.stanza)
        result = {"xmlns": MAM, "id": _id(self._sealer, row)}
        return markup.element("result", result, forwarded) + "\n"

    def end(self) -> str:
        """Close what `begin` opened."""
        return f"{self._around()[1]}\n"

    def _around(self) -> tuple[str, str]:
        name, _, host = self._owner.partition("@")
        archive = markup.element("archive", {"xmlns": PIE_MAM}, "\n")
        user = markup.element("user", {"name": name}, self._wishes(), archive)
        whole = markup.element(
            "server-data", {"xmlns": PIE}, markup.element("host", {"jid": host}, user)
        )
        begin, _, end = whole.partition("\n")
        return begin, end

    def _wishes(self) -> str:
        wishes = self._preferences
        if wishes is None:
            return ""
        lists = (_list("always", wishes.always), _list("never", wishes.never))
        return markup.element("prefs", {"xmlns": MAM, "default": wishes.default}, *lists)


class Lines:
    """JSON Lines: an object for each message.

    Args:
        sealer: Makes the ids.
    """

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def begin(self) -> str:
        """Give nothing."""
        return ""

    def message(self, row: Row) -> str:
        """Give its fields; `position` is over 2^53, so read it as a 64-bit integer."""
        fields = {
            "id": _id(self._sealer, row),
            "position": row.position,
            "at": dates.emit(to_milliseconds(row.position)),
            "owner": row.owner,
            "peer": row.peer,
            "peer_resource": row.peer_resource,
            "direction": row.direction,
            "kind": row.kind,
            "stanza": row.stanza,
        }
        return msgspec.json.encode(fields).decode() + "\n"

    def end(self) -> str:
        """Give nothing."""
        return ""


def write(output: BinaryIO, form: Format, rows: Iterable[Row]) -> None:
    """Write an archive, one message in memory at a time.

    Args:
        output: Where to; stays open.
        form: How.
        rows: What, oldest first.
    """
    output.write(form.begin().encode())
    for row in rows:  # noqa: FURB122  # zstandard's writer has no writelines
        output.write(form.message(row).encode())
    output.write(form.end().encode())


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file that only its owner may read, and that is there once it is whole.

    Args:
        path: The file, which is replaced; ``-`` for standard output. A name that ends in
            ``.zst`` is compressed.

    Raises:
        OutputFailed: It cannot be written.
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
            yield file  # type: ignore[misc]  # a wrapper of what it is said to be
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise


def _list(name: str, jids: Iterable[str]) -> str:
    return markup.element(name, {}, *(markup.element("jid", {}, markup.text(j)) for j in jids))


def _id(sealer: Sealer, row: Row) -> str:
    """Give the id that the owner's clients know a message by."""
    return row.legacy_id or sealer.seal(row.owner, row.position)

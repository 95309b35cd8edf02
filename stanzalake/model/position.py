"""Positions, which order an archive, and the sealed ids under which clients see them.

A position is ``unix milliseconds << 16 | sequence``. An id is a position sealed for its owner with
the SIV construction of RFC 5297, using HMAC-SHA256 for both halves: unpredictable without the key
(XEP-0313 §3, XEP-0359 §6), and decoded without a look-up.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import NamedTuple

SEQUENCE_BITS = 16
MAX_POSITION = 2**64 - 1
ID_LENGTH = 22
MIN_KEY_LENGTH = 32

_HALF = 8
_BLOCK = 64
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def from_milliseconds(milliseconds: int, sequence: int = 0) -> int:
    """Return the position of a moment.

    Args:
        milliseconds: Unix time in milliseconds.
        sequence: Number within the millisecond, 0 to 65535.
    """
    return milliseconds << SEQUENCE_BITS | sequence


def to_milliseconds(position: int) -> int:
    """Return the unix time of a position in milliseconds."""
    return position >> SEQUENCE_BITS


def seconds_ago(seconds: int | None, now: float) -> int:
    """Return the position of a moment in the past.

    Args:
        seconds: Seconds before now; None for the lowest position.
        now: Unix time in seconds.
    """
    if seconds is None:
        return 0
    return from_milliseconds(max(0, int(1000 * (now - seconds))))


class Sealer:
    """Seals positions into ids and opens ids into positions.

    Args:
        keys: Secrets of at least 32 characters. The first seals, all open, so that ids remain
            valid when a key is replaced.

    Raises:
        ValueError: No key, or a key that is too short.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ValueError("at least one id key is needed")
        if any(len(key) < MIN_KEY_LENGTH for key in keys):
            raise ValueError(f"an id key has at least {MIN_KEY_LENGTH} characters")
        self._keys = [_derive(key) for key in keys]

    def seal(self, owner: str, position: int) -> str:
        """Return the id of a position in an owner's archive.

        Args:
            owner: Bare JID of the archive's owner.
            position: 0 to 2^64 - 1.

        Returns:
            22 characters of the URL-safe base64 alphabet.
        """
        return _seal(self._keys[0], owner.encode(), position)

    def open(self, owner: str, sealed: str) -> int | None:
        """Return the position of an id, or None if the id is not of this owner's archive.

        Made-up ids, ids of other archives and ids under an unknown key are not told apart: all
        are item-not-found (XEP-0313 §4.1.3).
        """
        raw = _decode(sealed)
        if raw is None:
            return None
        name = owner.encode()
        for key in self._keys:
            position = _mask(key, name, raw[:_HALF]) ^ int.from_bytes(raw[_HALF:])
            if hmac.compare_digest(_seal(key, name, position), sealed):
                return position
        return None


class _Mac:
    """HMAC-SHA256 under a key, what depends on the key alone computed once (RFC 2104).

    Takes a third of the time of `hmac.digest`.

    Args:
        key: At most a block of SHA-256.
    """

    def __init__(self, key: bytes) -> None:
        block = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, message: bytes) -> bytes:
        """Return the first half of the code of a message."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()[:_HALF]


class _Key(NamedTuple):
    """The keys of an id's two halves."""

    tag: _Mac
    body: _Mac


def _derive(key: str) -> _Key:
    secret = key.encode()
    return _Key(
        _Mac(hmac.digest(secret, b"stanzalake id tag", hashlib.sha256)),
        _Mac(hmac.digest(secret, b"stanzalake id body", hashlib.sha256)),
    )


def _seal(key: _Key, owner: bytes, position: int) -> str:
    tag = key.tag.digest(owner + position.to_bytes(_HALF))
    body = _mask(key, owner, tag) ^ position
    raw = binascii.b2a_base64(tag + body.to_bytes(_HALF), newline=False)
    return raw[:ID_LENGTH].translate(_URL_SAFE).decode()


def _mask(key: _Key, owner: bytes, tag: bytes) -> int:
    return int.from_bytes(key.body.digest(owner + tag))


def _decode(sealed: str) -> bytes | None:
    if len(sealed) != ID_LENGTH or not sealed.isascii():
        return None
    try:
        return base64.b64decode(sealed + "==", altchars=b"-_", validate=True)
    except binascii.Error:
        return None

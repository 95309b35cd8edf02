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

SEQUENCE_BITS = 16
MAX_POSITION = 2**64 - 1
ID_LENGTH = 22
MIN_KEY_LENGTH = 32

_HALF = 8


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
        self._pairs = [_derive(key) for key in keys]

    def seal(self, owner: str, position: int) -> str:
        """Return the id of a position in an owner's archive.

        Args:
            owner: Bare JID of the archive's owner.
            position: 0 to 2^64 - 1.

        Returns:
            22 characters of the URL-safe base64 alphabet.
        """
        return _seal(self._pairs[0], owner.encode(), position)

    def open(self, owner: str, sealed: str) -> int | None:
        """Return the position of an id, or None if the id is not of this owner's archive.

        Made-up ids, ids of other archives and ids under an unknown key are not told apart: all
        are item-not-found (XEP-0313 §4.1.3).
        """
        raw = _decode(sealed)
        if raw is None:
            return None
        name = owner.encode()
        for pair in self._pairs:
            position = _mask(pair[1], name, raw[:_HALF]) ^ int.from_bytes(raw[_HALF:])
            if hmac.compare_digest(_seal(pair, name, position), sealed):
                return position
        return None


def _derive(key: str) -> tuple[bytes, bytes]:
    secret = key.encode()
    return (
        hmac.digest(secret, b"stanzalake id tag", hashlib.sha256),
        hmac.digest(secret, b"stanzalake id body", hashlib.sha256),
    )


def _seal(pair: tuple[bytes, bytes], owner: bytes, position: int) -> str:
    tag = hmac.digest(pair[0], owner + position.to_bytes(_HALF), hashlib.sha256)[:_HALF]
    body = _mask(pair[1], owner, tag) ^ position
    return base64.urlsafe_b64encode(tag + body.to_bytes(_HALF))[:ID_LENGTH].decode()


def _mask(key: bytes, owner: bytes, tag: bytes) -> int:
    return int.from_bytes(hmac.digest(key, owner + tag, hashlib.sha256)[:_HALF])


def _decode(sealed: str) -> bytes | None:
    if len(sealed) != ID_LENGTH or not sealed.isascii():
        return None
    try:
        return base64.b64decode(sealed + "==", altchars=b"-_", validate=True)
    except binascii.Error:
        return None

"""JIDs in Prosody's own normal form (its util.jid and util.encodings; RFC 6122).

Prosody decides under which JID a message is archived, so a JID that an operator, a client or
another archive writes has to come to the same text. Its stringprep (RFC 3454) uses the tables of
Unicode 3.2 and lets later code points pass unchanged; only directionality is that of ICU's own
Unicode version. RFC 7622 (PRECIS) gives other results, and so does slixmpp.
"""

import stringprep
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import groupby
from typing import Final, NamedTuple

from stanzalake.errors import InvalidJid

MAX_PART: Final = 1023
"""Bytes in UTF-8 that a part may have, before and after normalisation."""

_CACHED: Final = 4096
_OLD: Final = unicodedata.ucd_3_2_0
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL"})
# Code points that are right-to-left before they are assigned (DerivedBidiClass.txt).
_UNASSIGNED_RIGHT_TO_LEFT: Final = (
    *((0x0590, 0x08FF), (0xFB1D, 0xFDFF), (0xFE70, 0xFEFF)),
    *((0x10800, 0x10FFF), (0x1E800, 0x1EFFF)),
)
# Decompositions that Unicode corrected after 3.2 (NormalizationCorrections.txt).
_CORRECTED: Final = {
    character: _OLD.normalize("NFKC", character)
    for character in "\U0002f868\U0002f874\U0002f91f\U0002f95f\U0002f9bf"
}

Table = Callable[[str], bool]
"""Tells whether a character is in a table of RFC 3454."""

_EVERYWHERE: Final[tuple[Table, ...]] = (
    *(stringprep.in_table_c12, stringprep.in_table_c22, stringprep.in_table_c3),
    *(stringprep.in_table_c4, stringprep.in_table_c5, stringprep.in_table_c6),
    *(stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9),
)
_IN_RESOURCES: Final = (*_EVERYWHERE, stringprep.in_table_c21)
_IN_LOCALPARTS: Final = (*_IN_RESOURCES, stringprep.in_table_c11, "\"&'/:<>@".__contains__)


class Jid(NamedTuple):
    """A normalised JID.

    Attributes:
        local: The localpart, if there is one.
        domain: The domainpart.
        resource: The resourcepart, if there is one.
    """

    local: str | None
    domain: str
    resource: str | None = None

    @property
    def bare(self) -> str:
        """The JID without its resource."""
        return self.domain if self.local is None else f"{self.local}@{self.domain}"

    def __str__(self) -> str:
        """Give the JID as text."""
        return self.bare if self.resource is None else f"{self.bare}/{self.resource}"


def parse(text: str) -> Jid:
    """Normalise a JID, bare or full (Prosody's util.jid.prepped_split).

    Raises:
        InvalidJid: Prosody would refuse it, or a part of it normalises to nothing, as a soft hyphen
            does: nobody has such an address.
    """
    local, domain, resource = _split(text)
    parsed = Jid(
        None if local is None else nodeprep(local),
        nameprep(domain),
        None if resource is None else resourceprep(resource),
    )
    if "" in parsed:
        raise InvalidJid("a part of the JID has no characters that count")
    return parsed


def _split(text: str) -> tuple[str | None, str, str | None]:
    """Split a JID at its separators, and leave out the dot of the root domain."""
    bare, slash, resource = text.partition("/")
    local, at, domain = bare.rpartition("@")
    if domain in {"", "."} or "@" in local or (at and not local) or (slash and not resource):
        raise InvalidJid("a JID has the form [local@]domain[/resource]")
    return local or None, domain.removesuffix("."), resource or None


@lru_cache(_CACHED)
def nodeprep(localpart: str) -> str:
    """Normalise a localpart (RFC 6122 appendix A).

    Raises:
        InvalidJid: It is too long, or has a character that is not allowed.
    """
    return _prepare(localpart, _fold, _IN_LOCALPARTS)


@lru_cache(_CACHED)
def nameprep(domain: str) -> str:
    """Normalise a domainpart (RFC 3491).

    Raises:
        InvalidJid: It is too long, or has a character that is not allowed.
    """
    return _prepare(domain, _fold, _EVERYWHERE)


@lru_cache(_CACHED)
def resourceprep(resource: str) -> str:
    """Normalise a resourcepart (RFC 6122 appendix B).

    Raises:
        InvalidJid: It is too long, or has a character that is not allowed.
    """
    return _prepare(resource, str, _IN_RESOURCES)


def _prepare(text: str, fold: Callable[[str], str], prohibited: Iterable[Table]) -> str:
    """Map, normalise, and check (RFC 3454 §3 to §6)."""
    _require_length(text)
    mapped = (_CORRECTED.get(c) or fold(c) for c in text if not stringprep.in_table_b1(c))
    prepared = _normalise("".join(mapped))
    _require_length(prepared)
    if any(is_in_table(c) for is_in_table in prohibited for c in prepared):
        raise InvalidJid("a JID has a character that is not allowed there")
    _require_direction(prepared)
    return prepared


def _require_length(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidJid("a JID has no lone surrogates") from None
    if size > MAX_PART:
        raise InvalidJid(f"each part of a JID has at most {MAX_PART} bytes")


def _fold(character: str) -> str:
    """Fold case for NFKC (table B.2)."""
    if not _is_old(character):
        return character
    folded = _lower(character)
    normal = _OLD.normalize("NFKC", folded)
    again = _OLD.normalize("NFKC", "".join(map(_lower, normal)))
    return folded if again == normal else again


def _lower(character: str) -> str:
    """Fold case (table B.3); Python's lower case knows letters that the table does not."""
    exception = stringprep.b3_exceptions.get(ord(character))
    lower = character.lower() if exception is None else exception
    return lower if all(map(_is_old, lower)) else character


def _normalise(text: str) -> str:
    """Apply NFKC to each run of characters that Unicode 3.2 has; the others separate them."""
    runs = ((old, "".join(run)) for old, run in groupby(text, _is_old))
    return "".join(unicodedata.normalize("NFKC", run) if old else run for old, run in runs)


def _is_old(character: str) -> bool:
    """Tell whether Unicode 3.2 has a character."""
    return _OLD.category(character) != "Cn"


def _require_direction(text: str) -> None:
    """Check the direction of letters (RFC 3454 §6)."""
    directions = [_direction(c) for c in text]
    if _RIGHT_TO_LEFT.isdisjoint(directions):
        return
    if "L" in directions or not _RIGHT_TO_LEFT.issuperset((directions[0], directions[-1])):
        raise InvalidJid("a part of a JID mixes letters of both directions")


def _direction(character: str) -> str:
    """Give the bidirectional class of a character, also of one that is not assigned."""
    code = ord(character)
    default = any(first <= code <= last for first, last in _UNASSIGNED_RIGHT_TO_LEFT)
    return unicodedata.bidirectional(character) or ("R" if default else "L")

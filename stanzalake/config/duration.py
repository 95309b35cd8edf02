"""Durations as operators write them: 1d, 12h, 2 weeks, plain seconds, never."""

import re

_DAY = 86_400
_SECONDS = {
    "": 1,
    "s sec second seconds": 1,
    "mi min minute minutes": 60,
    "h hour hours": 3600,
    "d day days": _DAY,
    "w week weeks": 7 * _DAY,
    "m mo mon month months": 31 * _DAY,
    "y year years": 31_556_952,
}
"""Units of Prosody's mod_mam: a month is 31 days, a year 365.2425."""
_UNITS = {unit: seconds for units, seconds in _SECONDS.items() for unit in units.split() or [""]}

ALLOWED = "a number of seconds, a number with h, d, w, m or y (90d, 1y, 2 weeks), or never"
MAX_SECONDS = 50 * _UNITS["y"]
"""ClickHouse stores the end of a TTL in 32-bit unix seconds, which end in 2106."""


def parse(text: str) -> int | None:
    """Return a duration in seconds, or None for "never".

    Raises:
        ValueError: Not a duration.
    """
    written = text.strip().lower()
    if written == "never":
        return None
    match = re.fullmatch(r"([0-9]{1,12})\s*([a-z]*)", written)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"expected {ALLOWED}")
    seconds = int(match[1]) * _UNITS[match[2]]
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError("expected more than nothing and at most 50y, or never")
    return seconds


def write(seconds: int | None) -> str:
    """Return a duration as `parse` reads it: in days or hours if it is that many."""
    if seconds is None:
        return "never"
    for unit, length in (("d", _DAY), ("h", _UNITS["h"])):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return str(seconds)

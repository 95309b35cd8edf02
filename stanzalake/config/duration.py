"""Durations as operators write them: 1d, 1w, 1m, 1y, 90d, plain seconds, never."""

import re

_SECONDS = {
    "": 1,
    "d": 86_400,
    "w": 7 * 86_400,
    "m": 31 * 86_400,
    "y": 31_556_952,
}
"""Units of Prosody's mod_mam: a month is 31 days, a year 365.2425."""

ALLOWED = "a number of seconds, a number with d, w, m or y (90d, 1y), or never"
MAX_SECONDS = 50 * _SECONDS["y"]
"""ClickHouse stores the end of a TTL in 32-bit unix seconds, which end in 2106."""


def parse(text: str) -> int | None:
    """Return a duration in seconds, or None for "never".

    Raises:
        ValueError: Not a duration, such as "12h", which mod_mam silently takes for 12 seconds.
    """
    written = text.strip().lower()
    if written == "never":
        return None
    match = re.fullmatch(r"([0-9]{1,12})\s*([dwmy]?)", written)
    if match is None:
        raise ValueError(f"expected {ALLOWED}")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError("expected more than nothing and at most 50y, or never")
    return seconds

"""Dates of XEP-0082, to the millisecond that positions have.

Every year that the format can write is understood: the Gregorian calendar repeats after 400
years, so any of them is worked out in its like between 2000 and 2399.
"""

import re
from datetime import date, timedelta
from functools import lru_cache

_DATE = re.compile(
    r"(?P<year>-?(?:[1-9][0-9]{4,8}|[0-9]{4}))-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]+))?"
    r"(?:Z|(?P<sign>[+-])(?P<zone_hour>[0-9]{2}):(?P<zone_minute>[0-9]{2}))"
)
_CYCLE_YEARS = 400
_CYCLE_DAYS = 146_097
_CYCLE_START = date(2000, 1, 1)
_EPOCH_DAYS = (_CYCLE_START - date(1970, 1, 1)).days

_SECOND = 1000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_WIDEST_ZONE = 14 * _HOUR
_DIGITS = tuple(f"{number:02}" for number in range(60))
"""Two digits of hours, minutes and seconds: formatting each takes four times as long."""
_FRACTIONS = tuple(f"{number:03}" for number in range(1000))
_RECENT_DAYS = 1024
"""Days whose text is remembered: the messages of a page are of few."""


def parse(written: str, *, up: bool) -> int:
    """Return the unix time of a DateTime in milliseconds.

    A DateTime without a fraction stands for the whole second: clients that write none have cut
    the stamp of a message to the second, and mean to include the message.

    Args:
        written: CCYY-MM-DDThh:mm:ss[.s+] and a zone, as XML Schema's dateTime (XEP-0082 §3.2).
        up: Whether to round up: to the first millisecond not before the DateTime, instead of the
            last not after.

    Raises:
        ValueError: Not such a date.
    """
    match = _DATE.fullmatch(written)
    if match is None:
        raise ValueError("expected CCYY-MM-DDThh:mm:ss[.s+] with Z or a zone")
    digits = match["fraction"] or ""
    whole = int(digits[:3].ljust(3, "0"))
    finer = bool(digits[3:].strip("0"))
    time = _time(match) + whole
    if time + finer > _DAY:
        raise ValueError("expected a time of day")
    moment = _days(match) * _DAY + time - _zone(match)
    if up:
        return moment + 1 if finer else moment
    return moment if digits else moment + _SECOND - 1


def emit(milliseconds: int) -> str:
    """Format a unix time in milliseconds as a DateTime in UTC, to the millisecond."""
    days, time = divmod(milliseconds, _DAY)
    minutes, time = divmod(time, _MINUTE)
    hour, minute = divmod(minutes, 60)
    second, fraction = divmod(time, _SECOND)
    clock = f"{_DIGITS[hour]}:{_DIGITS[minute]}:{_DIGITS[second]}"
    return f"{_emit_day(days)}T{clock}.{_FRACTIONS[fraction]}Z"


@lru_cache(_RECENT_DAYS)
def _emit_day(days: int) -> str:
    """Format a day as CCYY-MM-DD."""
    cycles, rest = divmod(days - _EPOCH_DAYS, _CYCLE_DAYS)
    day = _CYCLE_START + timedelta(days=rest)
    return f"{day.year + cycles * _CYCLE_YEARS:04}-{day.month:02}-{day.day:02}"


def _days(match: re.Match[str]) -> int:
    cycles, year = divmod(int(match["year"]) - _CYCLE_START.year, _CYCLE_YEARS)
    day = date(year + _CYCLE_START.year, int(match["month"]), int(match["day"]))
    return (day - _CYCLE_START).days + cycles * _CYCLE_DAYS + _EPOCH_DAYS


def _time(match: re.Match[str]) -> int:
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
    if minute >= 60 or second >= 60:  # noqa: PLR2004  # minutes and seconds
        raise ValueError("expected a time of day")
    return hour * _HOUR + minute * _MINUTE + second * _SECOND


def _zone(match: re.Match[str]) -> int:
    if match["sign"] is None:
        return 0
    hour, minute = int(match["zone_hour"]), int(match["zone_minute"])
    offset = hour * _HOUR + minute * _MINUTE
    if minute >= 60 or offset > _WIDEST_ZONE:  # noqa: PLR2004  # minutes
        raise ValueError("expected a zone of at most 14 hours")
    return offset if match["sign"] == "+" else -offset

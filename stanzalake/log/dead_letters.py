"""Rejected records: what could not be archived, kept as it came, with its reason and source."""

from stanzalake.log.base import Entry, Record

TAP_SOURCE = "tap of "
"""Prefix of the source of a record that a tap sent; its host follows."""

_REASON = "reason"
_SOURCE = "source"


def entry(key: str, value: bytes, reason: str, source: str) -> Entry:
    """Give what the rejected topic gets.

    Args:
        key: The key that the record had, or the host that it came from.
        value: Its original bytes.
        reason: Why it is rejected; never quotes a body.
        source: Where it came from.
    """
    return Entry(key, value, ((_REASON, reason), (_SOURCE, source)))


def reason(record: Record) -> str:
    """Give the reason of a record of the rejected topic."""
    return dict(record.headers).get(_REASON, "")


def source(record: Record) -> str:
    """Give the source of a record of the rejected topic."""
    return dict(record.headers).get(_SOURCE, "")

"""Dead letters: records that cannot be archived, with their original bytes, reason and source."""

from stanzalake.log.base import Entry, Record

TAP_SOURCE = "tap of "
"""Prefix of the source of a record from a tap; the VirtualHost follows."""

REPLAYED = (("replayed", "true"),)
"""Headers of an event that `stanzalake rejected replay` appended."""

_REASON = "reason"
_SOURCE = "source"


def entry(key: str, value: bytes, reason: str, source: str) -> Entry:
    """Build an entry for the topic `stanzalake.rejected`.

    Args:
        key: The record's key, or the VirtualHost that sent it.
        value: The original bytes.
        reason: Why the record is rejected; never quotes a body.
        source: The tap, or the topic, partition and offset.
    """
    return Entry(key, value, ((_REASON, reason), (_SOURCE, source)))


def reason(record: Record) -> str:
    """Return why a dead letter was rejected."""
    return dict(record.headers).get(_REASON, "")


def source(record: Record) -> str:
    """Return where a dead letter came from."""
    return dict(record.headers).get(_SOURCE, "")

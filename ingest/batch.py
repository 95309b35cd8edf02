"""Batches: what the tap sends, checked line by line. Pure; the component does the talking."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field

from stanzalake.errors import InvalidEvent
from stanzalake.log import dead_letters
from stanzalake.log.base import Entry
from stanzalake.model.event import MAX_EVENT, decode_from_host

NAMESPACE = "urn:stanzalake:batch:1"
MAX_BATCH = 2 * MAX_EVENT
"""Bytes of a batch's text; one event of the largest size fits."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """A batch after the check.

    Attributes:
        events: What goes to the log, in the order it came.
        rejected: What is kept aside, with its reason and source.
    """

    events: list[Entry] = field(default_factory=list)
    rejected: list[Entry] = field(default_factory=list)


def sort(text: str, host: str) -> Sorted:
    """Check a batch.

    Args:
        text: The base64 text of the batch element (docs/protocol.md).
        host: The VirtualHost it came from: no other host's archives may be written.

    Returns:
        Every line of it, as an event or as rejected; nothing is dropped.
    """
    result = Sorted()
    try:
        for line in _lines(text):
            _sort_line(line, host, result)
    except InvalidEvent as error:
        result.rejected.append(_reject(text.encode(), host, error))
    return result


def _lines(text: str) -> Iterator[bytes]:
    """Give the batch's lines.

    Raises:
        InvalidEvent: The whole batch cannot be read.
    """
    if len(text) > MAX_BATCH:
        raise InvalidEvent(f"a batch of {len(text)} bytes, over the limit of {MAX_BATCH}")
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidEvent("a batch that is not base64") from None
    if not raw:
        raise InvalidEvent("an empty batch")
    yield from raw.removesuffix(b"\n").split(b"\n")


def _sort_line(line: bytes, host: str, result: Sorted) -> None:
    try:
        owner = decode_from_host(line, host).owner
    except InvalidEvent as error:
        result.rejected.append(_reject(line, host, error))
    else:
        result.events.append(Entry(owner, line))


def _reject(value: bytes, host: str, error: InvalidEvent) -> Entry:
    return dead_letters.entry(host, value, str(error), f"{dead_letters.TAP_SOURCE}{host}")

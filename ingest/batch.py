"""Batches from a tap: decoded and validated line by line, without I/O."""

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
"""Bytes of a batch's base64 text; an event of the maximum size fits."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A decoded batch.

    Attributes:
        events: Valid events for the log, in the order of the batch.
        rejected: Dead letters for invalid lines, with reason and source.
    """

    events: list[Entry] = field(default_factory=list)
    rejected: list[Entry] = field(default_factory=list)


def decode_batch(text: str, host: str) -> Batch:
    """Decode and validate a batch.

    Args:
        text: The base64 text of the batch element (docs/protocol.md).
        host: The VirtualHost of the tap, which may write to the archives of its own users only.

    Returns:
        Every line, as an event or as a dead letter.
    """
    result = Batch()
    try:
        for line in _lines(text):
            _decode_line(line, host, result)
    except InvalidEvent as error:
        result.rejected.append(_reject(text.encode(), host, error))
    return result


def _lines(text: str) -> Iterator[bytes]:
    """Iterate over the batch's lines.

    Raises:
        InvalidEvent: The batch is too long, empty or not base64.
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


def _decode_line(line: bytes, host: str, result: Batch) -> None:
    try:
        owner = decode_from_host(line, host).owner
    except InvalidEvent as error:
        result.rejected.append(_reject(line, host, error))
    else:
        result.events.append(Entry(owner, line))


def _reject(value: bytes, host: str, error: InvalidEvent) -> Entry:
    return dead_letters.entry(host, value, str(error), f"{dead_letters.TAP_SOURCE}{host}")

"""Watermarks: the offset after the last relevant record of each partition, and their text form."""

import re
from collections.abc import Mapping
from types import MappingProxyType

Watermarks = Mapping[int, int]
"""The offset after the last relevant record, by partition."""
NO_WATERMARKS: Watermarks = MappingProxyType({})

_TEXT = re.compile(r"(?:[0-9]{1,9}:[0-9]{1,18}(?: |$))*")


def write(watermarks: Watermarks) -> str:
    """Return watermarks as text, "PARTITION:OFFSET ..." (docs/protocol.md)."""
    return " ".join(f"{partition}:{offset}" for partition, offset in watermarks.items())


def read(text: str) -> Watermarks:
    """Parse watermarks.

    Raises:
        ValueError: The text is malformed.
    """
    if not _TEXT.fullmatch(text):
        raise ValueError("malformed watermarks")
    pairs = (pair.split(":") for pair in text.split())
    return {int(partition): int(offset) for partition, offset in pairs}

"""Ends: up to where each partition holds what somebody asks about, and how that is written."""

import re
from collections.abc import Mapping
from types import MappingProxyType

Watermarks = Mapping[int, int]
"""Of each partition, the offset behind the last record that counts."""
NO_WATERMARKS: Watermarks = MappingProxyType({})

_WRITTEN = re.compile(r"(?:[0-9]{1,9}:[0-9]{1,18}(?: |$))*")


def write(ends: Watermarks) -> str:
    """Give ends as text (docs/protocol.md)."""
    return " ".join(f"{partition}:{offset}" for partition, offset in ends.items())


def read(text: str) -> Watermarks:
    """Give ends from their text.

    Raises:
        ValueError: It is none.
    """
    if not _WRITTEN.fullmatch(text):
        raise ValueError("no ends of partitions")
    pairs = (pair.split(":") for pair in text.split())
    return {int(partition): int(offset) for partition, offset in pairs}

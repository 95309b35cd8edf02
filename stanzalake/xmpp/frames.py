"""Frames: byte strings of stated length in a row, as requests and answers carry them as base64.

A frame is a line ``KIND POSITION LENGTH`` and LENGTH bytes (docs/protocol.md). Text written by
users travels in frames only, so no XML parser on the way has to agree.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from stanzalake.model.position import MAX_POSITION

_HEAD = re.compile(rb"([a-z]{1,16}) ([0-9]{1,20}) ([0-9]{1,10})\n")


class Frame(NamedTuple):
    """A typed piece of a request or an answer.

    Attributes:
        kind: Lower-case ASCII letters, at most 16.
        content: Any bytes.
        position: Position of the message or state in the content; 0 for none.
    """

    kind: str
    content: bytes
    position: int = 0


def write(frames: Iterable[Frame]) -> bytes:
    """Join frames."""
    return b"".join(map(_encode, frames))


def write_parts(frames: Iterable[Frame], limit: int) -> Sequence[bytes]:
    """Join frames into parts, which end between two frames unless a frame has more bytes.

    Args:
        frames: The frames.
        limit: Bytes of a part at most.
    """
    parts, part, size = [], list[bytes](), 0
    for data in map(_encode, frames):
        if size + len(data) > limit and part:
            parts.append(b"".join(part))
            part, size = [], 0
        part.append(data)
        size += len(data)
    parts.append(b"".join(part))
    return [
        joined[start : start + limit]
        for joined in parts
        for start in range(0, len(joined) or 1, limit)
    ]


def read(data: bytes) -> Sequence[Frame]:
    """Split data into its frames.

    Raises:
        ValueError: The data is truncated or not made of frames.
    """
    return tuple(_frames(data))


def read_base64(text: str, limit: int) -> Sequence[Frame]:
    """Split base64 text into its frames.

    Args:
        text: Standard base64 with padding, without white space.
        limit: Characters of text at most.

    Raises:
        ValueError: The text is too long, not base64, or not made of frames.
    """
    if len(text) > limit:
        raise ValueError("too long")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("not base64") from None
    return read(data)


def _encode(frame: Frame) -> bytes:
    kind, content, position = frame
    return b"%b %d %d\n%b" % (kind.encode(), position, len(content), content)


def _frames(data: bytes) -> Iterator[Frame]:
    start = 0
    while start < len(data):
        head = _HEAD.match(data, start)
        if head is None:
            raise ValueError("no head of a frame")
        kind, position, length = head[1].decode(), int(head[2]), int(head[3])
        start = head.end() + length
        if start > len(data) or position > MAX_POSITION:
            raise ValueError("a truncated frame, or a position out of range")
        yield Frame(kind, data[head.end() : start], position)

"""Pieces: many values, divided so that each piece fits into one statement's parameters.

A ClickHouse server refuses a parameter of more than 128 KiB (`http_max_field_value_size`), and an
address of more than 1 MiB (`http_max_uri_size`):
https://clickhouse.com/docs/operations/settings/settings#http_max_field_value_size
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_BYTES = 60_000
"""Bytes of a piece: half of what a server takes, as quoting may double them."""
_AROUND = 24
"""Bytes around a text, or of a position that goes with it."""


def chunks(values: Iterable[T], text: Callable[[T], str]) -> Iterator[list[T]]:
    """Divide values, in their order; no piece is empty.

    Args:
        values: What is divided.
        text: Gives all text of a value that goes into the statement.
    """
    piece: list[T] = []
    size = 0
    for value in values:
        more = len(text(value).encode()) + _AROUND
        if piece and size + more > _BYTES:
            yield piece
            piece, size = [], 0
        piece.append(value)
        size += more
    if piece:
        yield piece

"""Chunks of query parameters that fit the limits of ClickHouse's HTTP interface.

A server refuses a parameter over 128 KiB (`http_max_field_value_size`) and a URI over 1 MiB
(`http_max_uri_size`):
https://clickhouse.com/docs/operations/settings/settings#http_max_field_value_size
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_BYTES = 60_000
"""Bytes of a chunk: half of the limit, as quoting may double them."""
_AROUND = 24
"""Bytes added per value: quotes, separator, and a position beside the text."""


def chunks(values: Iterable[T], text: Callable[[T], str]) -> Iterator[list[T]]:
    """Split values into chunks, keeping their order; no chunk is empty.

    Args:
        values: The values to split.
        text: Returns all text of a value that goes into the parameters.
    """
    chunk: list[T] = []
    size = 0
    for value in values:
        more = len(text(value).encode()) + _AROUND
        if chunk and size + more > _BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(value)
        size += more
    if chunk:
        yield chunk

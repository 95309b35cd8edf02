"""Chunks of query parameters that fit the limits of ClickHouse's HTTP interface.

A server refuses a parameter over 128 KiB (`http_max_field_value_size`) and a URI over 1 MiB
(`http_max_uri_size`):
https://clickhouse.com/docs/operations/settings/settings#http_max_field_value_size
"""

import math
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
    return split(values, lambda value: len(text(value).encode()) + _AROUND, _BYTES)


def split(
    values: Iterable[T], size: Callable[[T], int], room: int, number: float = math.inf
) -> Iterator[list[T]]:
    """Split values into groups, keeping their order; no group is empty.

    Args:
        values: The values to split.
        size: Returns the size of a value.
        room: Size of a group at most, unless a single value is larger.
        number: Number of values in a group at most.
    """
    group: list[T] = []
    taken = 0
    for value in values:
        more = size(value)
        if group and (len(group) == number or taken + more > room):
            yield group
            group, taken = [], 0
        group.append(value)
        taken += more
    if group:
        yield group

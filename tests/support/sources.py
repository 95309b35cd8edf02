"""Sources of an import."""

from collections.abc import Iterator, Sequence

from stanzalake.importer.source import Item


class Given:
    """A source of given items."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def size(self) -> int:
        return len(self._items)

    def done(self) -> int:
        return 0

    def items(self) -> Iterator[Item]:
        return iter(self._items)

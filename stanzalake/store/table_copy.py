"""Copies of a table of messages into another, while rows still arrive in the first.

A row may be copied twice: the table replaces repeats, and readers drop them.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from stanzalake.store.client import Store
from stanzalake.store.statement import select

Report = Callable[[int, int], None]
"""Takes the number of rows copied so far, and that of all rows."""

_PIECE_BYTES = 64 * 1024 * 1024
"""Uncompressed bytes of a piece: a statement of a second or two, far below any timeout."""
_PIECE_ROWS = 250_000
_START = ("", 0)
_PART = "hostName(), partition_id, name, max_block_number, rows, data_uncompressed_bytes"
_ACTIVE = ["active", "database = currentDatabase()", "table = {table:String}"]
_COPY = """
INSERT INTO {{destination:Identifier}} ({columns}) SELECT {columns} FROM {{source:Identifier}}
WHERE {condition}
SETTINGS max_partitions_per_insert_block = 0, max_threads = 1, insert_deduplicate = 0
"""
_COLUMNS = """
SELECT name FROM system.columns
WHERE database = currentDatabase() AND table IN ({source:String}, {destination:String})
    AND default_kind NOT IN ('ALIAS', 'MATERIALIZED')
GROUP BY name HAVING count() = 2 ORDER BY min(position)
"""


class Part(NamedTuple):
    """A part of the table to read.

    Attributes:
        host: The server that has it.
        partition: Id of its partition.
        name: Its name.
        block: Number of its newest block of rows; a merged part has that of its newest source.
        rows: Number of rows.
        size: Uncompressed bytes.
    """

    host: str
    partition: str
    name: str
    block: int
    rows: int
    size: int


class Step(NamedTuple):
    """How far the rows of a partition on a server have been copied.

    Attributes:
        host: The server.
        partition: Id of the partition.
        block: Number of the newest block of rows when the copy began.
        owner: Owner of the last row copied.
        position: Position of that row.
        complete: Whether all rows of these blocks are copied.
    """

    host: str
    partition: str
    block: int
    owner: str = ""
    position: int = 0
    complete: bool = False


class TableCopy:
    """Copies rows partition by partition, in pieces. All calls block.

    Args:
        store: The store, as a user that may read and write both tables.
        source: Name of the table to read.
        destination: Name of the table to write, in the columns that both have.
        cluster: Name of the cluster that the tables are on; empty for a single server.
        save: Stores a step, for a later copy to begin with.
    """

    def __init__(
        self,
        store: Store,
        source: str,
        destination: str,
        cluster: str = "",
        save: Callable[[Step], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._tables = {"source": source, "destination": destination}
        self._cluster = cluster
        self._save = save
        self._complete: dict[tuple[str, str], int] = {}
        self._begun: dict[tuple[str, str], Step] = {}

    def resume(self, steps: Sequence[Step]) -> None:
        """Begin with the steps that an interrupted copy saved, oldest first."""
        for step in steps:
            self._note(step)

    def remainder(self) -> Sequence[Part]:
        """Return the parts with rows that have not been copied, newest partition first.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        # One replica of each shard. Which one may change: its parts count as not copied then.
        source = f"cluster('{self._cluster}', system.parts)" if self._cluster else "system.parts"
        local = self._tables["source"] + ("_local" if self._cluster else "")
        order = "ORDER BY partition_id DESC, name"
        rows = self._store.select(select(_PART, _ACTIVE, order, source), {"table": local})
        parts = (Part(*row) for row in rows)
        return [p for p in parts if p.block > self._complete.get((p.host, p.partition), -1)]

    def run(self, remainder: Sequence[Part], report: Report = lambda _, __: None) -> None:
        """Copy the rows of some parts; raises as `remainder` does."""
        total, done = sum(part.rows for part in remainder), 0
        for _, group in groupby(remainder, attrgetter("partition")):
            parts = list(group)
            rows = sum(part.rows for part in parts)
            for copied in self._pieces(parts, rows):
                report(done + min(rows, copied), total)
            done += rows
            report(done, total)

    def _pieces(self, parts: Sequence[Part], rows: int) -> Iterator[int]:
        """Copy the parts of a partition piece by piece; yields the rows copied so far."""
        newest = {(part.host, part.partition): part.block for part in sorted(parts, key=_block)}
        # Once copied, only its new parts are read. Before, parts come and go by merges.
        is_copied = newest.keys() <= self._complete.keys()
        names = [part.name for part in parts] if is_copied else None
        steps = [self._begun.get(key, Step(*key, block)) for key, block in newest.items()]
        size = max(1, min(_PIECE_ROWS, rows * _PIECE_BYTES // max(1, sum(p.size for p in parts))))
        copied, start = 0, min((step.owner, step.position) for step in steps)
        while (end := self._copy_piece(parts[0].partition, names, start, size)) is not None:
            if not is_copied:
                self._take(steps, owner=end[0], position=end[1])
            copied, start = copied + size, end
            yield copied
        self._take(steps, complete=True)

    def _copy_piece(
        self, partition: str, parts: Sequence[str] | None, start: tuple[str, int], size: int
    ) -> tuple[str, int] | None:
        """Copy the rows after a key; returns the last one's key, None at the partition's end."""
        where, parameters = self._condition(partition, parts, start)
        order = f"ORDER BY owner, position LIMIT 1 OFFSET {size - 1}"
        found = self._store.select(
            select("owner, position", where, order, "{source:Identifier}"), parameters
        )
        for owner, position in found:
            where.append("(owner, position) <= ({last:String}, {end:UInt64})")
            parameters |= {"last": owner, "end": position}
        statement = _COPY.format(columns=self._columns, condition=" AND ".join(where))
        self._store.command(statement, parameters)
        return (found[0][0], found[0][1]) if found else None

    @cached_property
    def _columns(self) -> str:
        """The columns that both tables have and that are not computed."""
        return ", ".join(name for (name,) in self._store.select(_COLUMNS, self._tables))

    def _condition(
        self, partition: str, parts: Sequence[str] | None, start: tuple[str, int]
    ) -> tuple[list[str], dict[str, Any]]:
        where = ["_partition_id = {partition:String}"]
        parameters: dict[str, Any] = {**self._tables, "partition": partition}
        if start != _START:
            where.append("(owner, position) > ({owner:String}, {position:UInt64})")
            parameters |= {"owner": start[0], "position": start[1]}
        if parts is not None:
            where.append("_part IN {parts:Array(String)}")
            parameters["parts"] = parts
        return where, parameters

    def _take(self, steps: Sequence[Step], **changes: Any) -> None:
        for step in steps:
            changed = step._replace(**changes)
            self._note(changed)
            self._save(changed)

    def _note(self, step: Step) -> None:
        key = step.host, step.partition
        if step.complete:
            self._complete[key] = step.block
            self._begun.pop(key, None)
        else:
            self._begun[key] = step


def _block(part: Part) -> int:
    return part.block

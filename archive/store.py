"""The store: one ClickHouse table of messages, behind an HTTP client or in the process (chDB)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import clickhouse_connect


class Row(NamedTuple):
    """One stored message, in the order of the table's columns."""

    owner: str
    position: int
    peer: str
    peer_resource: str
    direction: str
    kind: str
    stanza: str
    legacy_id: str = ""


class Store:
    """A client of the store. Its calls block: call them from a thread, one at a time.

    Args:
        dsn: Where it is: ``chdb:///directory``, ``chdb://:memory:`` or ``clickhouse://...``.
        table: Name of the table of messages; an identifier.
    """

    def __init__(self, dsn: str, table: str) -> None:
        self.table = table
        self._client = clickhouse_connect.get_client(dsn=dsn)

    def insert(self, rows: Sequence[Row]) -> None:
        """Write rows; they are readable when this returns. A repeat is the same row."""
        self._client.insert(self.table, rows, column_names=Row._fields, column_oriented=False)

    def select(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Give the rows of a statement with ``{name:Type}`` parameters."""
        return self._client.query(statement, parameters=dict(parameters)).result_rows

    def command(self, statement: str) -> None:
        """Run a statement that gives no rows."""
        self._client.command(statement)

    def close(self) -> None:
        """Close the client. Written rows stay, unless the store is in memory."""
        self._client.close()

"""The store: one ClickHouse table of messages, behind an HTTP client or in the process (chDB)."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, DataError

from archive.errors import StoreRefused, StoreUnavailable

_PASSING = frozenset({159, 202, 203, 209, 210, 241, 242, 243, 252, 279, 319, 394, 425, 999})
"""Codes of what may work later: time-outs, memory, space, too many parts or queries, read-only
replicas, networks (src/Common/ErrorCodes.cpp)."""

# They log what cannot be encoded, values included; the errors below say all that is needed.
for _name in ("clickhouse_connect", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


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

    Raises:
        StoreUnavailable: It does not answer, or cannot be opened.
    """

    def __init__(self, dsn: str, table: str) -> None:
        self.table = table
        with _translated():
            self._client = clickhouse_connect.get_client(dsn=dsn)

    def insert(self, rows: Sequence[Row]) -> None:
        """Write rows; they are readable when this returns. A repeat is the same row.

        Raises:
            StoreUnavailable: They may or may not be written: write them again.
            StoreRefused: The store says no, and would again.
        """
        with _translated():
            self._client.insert(self.table, rows, column_names=Row._fields)

    def select(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[Sequence[Any]]:
        """Give the rows of a statement with ``{name:Type}`` parameters.

        Raises:
            StoreUnavailable: It did not answer this time.
            StoreRefused: The statement is at fault.
        """
        with _translated():
            return self._client.query(statement, parameters=dict(parameters or {})).result_rows

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that gives no rows; raises as `select` does."""
        with _translated():
            self._client.command(statement, parameters=dict(parameters or {}))

    def close(self) -> None:
        """Close the client. Written rows stay, unless the store is in memory."""
        self._client.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Tell what the engine refused from what it could not do just now; never quote a value."""
    try:
        yield
    except DataError:
        raise StoreRefused("a value does not fit its column") from None
    except DatabaseError as error:
        if error.code is None or error.code in _PASSING:
            raise StoreUnavailable(f"ClickHouse does not answer {_name_of(error)}") from None
        raise StoreRefused(f"ClickHouse refused it {_name_of(error)}") from None
    except (ClickHouseError, OSError, RuntimeError) as error:
        raise StoreUnavailable(f"ClickHouse does not answer ({type(error).__name__})") from None


def _name_of(error: DatabaseError) -> str:
    return f"(error {error.code} {error.name})" if error.code else f"({type(error).__name__})"

"""The store: ClickHouse over HTTP, or its engine in the process (chDB), behind one client."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver import options
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DatabaseError,
    DataError,
    ProgrammingError,
    StreamFailureError,
)

from stanzalake.config import data_dir
from stanzalake.config.settings import Settings
from stanzalake.errors import (
    AnswerCut,
    DataDirInUse,
    ResultTooLarge,
    RowRefused,
    StanzalakeError,
    StoreDenied,
    StoreRefused,
    StoreUnavailable,
)
from stanzalake.model.event import Message
from stanzalake.observability.metrics import STORAGE_OPERATIONS
from stanzalake.store.chdb.engine import load
from stanzalake.store.pool import Pool

PASSING = {
    74: "CANNOT_READ_FROM_FILE_DESCRIPTOR",
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    76: "CANNOT_OPEN_FILE",
    77: "CANNOT_CLOSE_FILE",
    159: "TIMEOUT_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    252: "TOO_MANY_PARTS",
    254: "NO_ACTIVE_REPLICAS",
    279: "ALL_CONNECTION_TRIES_FAILED",
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    425: "SYSTEM_ERROR",
    439: "CANNOT_SCHEDULE_TASK",
    745: "SERVER_OVERLOADED",
    999: "KEEPER_EXCEPTION",
}
"""Errors of ClickHouse after which the same may work later (src/Common/ErrorCodes.cpp)."""

DENIED = {
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
}
"""Errors of ClickHouse that an operator has to mend."""

ROW = {
    6: "CANNOT_PARSE_TEXT",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    407: "DECIMAL_OVERFLOW",
    469: "VIOLATED_CONSTRAINT",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
}
"""Errors of ClickHouse that are about the values of a row, if they answer an insert."""

_TOO_LARGE = 396
_CONNECT_SECONDS = 10
_INSERT = {"max_partitions_per_insert_block": 0}
"""A batch may hold messages of any number of months: more than 100 would never be taken."""

# Rows are no data frames: without this, the first insert would load pandas and its 40 MB to know.
options.pd = None

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

    @classmethod
    def of(cls, message: Message, stanza: str, legacy_id: str = "") -> "Row":
        """Give the row of a message.

        Args:
            message: What happened.
            stanza: What is stored of its stanza.
            legacy_id: The id that it came with, if it was imported.
        """
        return cls(
            owner=message.owner,
            position=message.position,
            peer=message.peer,
            peer_resource=message.peer_resource,
            direction=message.direction,
            kind=message.kind,
            stanza=stanza,
            legacy_id=legacy_id,
        )


class Store:
    """A client of the store. Its calls block: call them from threads.

    Args:
        dsn: Where it is, as `STANZALAKE_CLICKHOUSE_DSN` says it.
        table: Name of the table of messages; an identifier.
        server: What the client of a server is made with besides; see `of`.
        engine: What that of the engine in the process is made with.
        setting: The setting that the DSN comes from, for errors that an operator has to mend.

    Raises:
        StoreUnavailable: It does not answer, or cannot be opened.
        StoreDenied: It does not let the DSN's user in.
    """

    def __init__(
        self,
        dsn: str,
        table: str,
        server: Mapping[str, Any] | None = None,
        setting: str = "STANZALAKE_CLICKHOUSE_DSN",
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        self.table = table
        self._held = ExitStack()
        self._setting = setting
        self._user = unquote(urlsplit(dsn).username or "default")
        embedded = dsn.startswith("chdb:")
        own = (engine or {}) if embedded else _server(dsn, server or {})
        with self._translated():
            if embedded:
                load()
            # A client runs one statement at a time, if it is the engine's.
            self._clients = Pool(partial(clickhouse_connect.get_client, dsn=dsn, **own))

    @classmethod
    def of(cls, settings: Settings) -> "Store":
        """Open the store as the settings say; raises as the class does.

        A data directory is held until the store is closed. Where another process holds it and
        shares the store, as `stanzalake up` does, this is a client of that one.

        Raises:
            DataDirInUse: Another process holds the data directory, and does not share the store.
        """
        return cls._opened(settings, settings.dsn, "STANZALAKE_CLICKHOUSE_DSN")

    @classmethod
    def for_admin(cls, settings: Settings) -> "Store":
        """Open the store for a user that may change the schema; raises as `of` does."""
        own = settings.clickhouse_admin_dsn is not None
        setting = "STANZALAKE_CLICKHOUSE_ADMIN_DSN" if own else "STANZALAKE_CLICKHOUSE_DSN"
        return cls._opened(settings, settings.admin_dsn, setting)

    @classmethod
    def _opened(cls, settings: Settings, dsn: str, setting: str) -> "Store":
        if settings.store_dir is None:
            return cls(dsn, settings.store, _options(settings), setting)
        with ExitStack() as held:
            try:
                held.enter_context(data_dir.hold_data_dir(settings.data_dir))
            except DataDirInUse:
                return cls._shared(settings)
            allowed = {"backups.allowed_path": str(settings.data_dir.absolute() / "backups")}
            store = cls(dsn, settings.store, engine={"chdb_options": allowed})
            store._held = held.pop_all()
            return store

    @classmethod
    def _shared(cls, settings: Settings) -> "Store":
        dsn = data_dir.store_dsn(settings.data_dir)
        try:
            return cls(dsn, settings.store, _options(settings), "STANZALAKE_DATA_DIR")
        except StoreUnavailable as error:
            raise DataDirInUse(
                f"{settings.data_dir} is in use by another process of stanzalake, "
                f"and the store that it shares cannot be reached: {error}"
            ) from None

    def insert(self, rows: Sequence[Any], part: str = "") -> None:
        """Write rows; they are readable when this returns. A repeat is the same row.

        Args:
            rows: Named tuples with the names of the table's columns.
            part: What the table's name ends with, if it is not the table of messages.

        Raises:
            StoreUnavailable: They may or may not be written: write them again.
            RowRefused: The values of one of them, at least, do not fit; none is written.
            StoreRefused: The store says no to any row, and would again.
        """
        if not rows:
            return
        STORAGE_OPERATIONS.labels("archive", "insert").inc()
        with self._translated(ROW), self._clients.borrow() as client:
            client.insert(self.table + part, rows, column_names=rows[0]._fields, settings=_INSERT)

    def select(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[Sequence[Any]]:
        """Give the rows of a statement with ``{name:Type}`` parameters.

        Raises:
            StoreUnavailable: It did not answer this time.
            StoreRefused: The statement is at fault.
            ResultTooLarge: The rows pass a bound that the statement sets itself.
        """
        STORAGE_OPERATIONS.labels("archive", "select").inc()
        with self._translated(), self._clients.borrow() as client:
            return client.query(statement, parameters=dict(parameters or {})).result_rows

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that gives no rows; raises as `select` does."""
        STORAGE_OPERATIONS.labels("archive", "command").inc()
        with self._translated(), self._clients.borrow() as client:
            client.command(statement, parameters=dict(parameters or {}))

    def size(self) -> int:
        """Give the bytes that the messages take on this server's disk; raises as `select` does."""
        [(size,)] = self.select(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active"
            " AND database = currentDatabase() AND table IN {tables:Array(String)}",
            {"tables": [self.table, f"{self.table}_local"]},
        )
        return int(size)

    def close(self) -> None:
        """Close the client. Written rows stay, unless the store is in memory."""
        self._clients.close()
        self._held.close()

    @contextmanager
    def _translated(self, row: Collection[int] = ()) -> Iterator[None]:
        """Turn the client's errors into ours, which never quote a value.

        Args:
            row: Codes that are about the values of a row.
        """
        try:
            yield
        except StreamFailureError:
            raise AnswerCut("ClickHouse broke off in the middle of an answer") from None
        except DatabaseError as error:
            raise self._ours(error, row) from None
        except (ClickHouseError, OSError, RuntimeError) as error:
            raise StoreUnavailable(f"ClickHouse does not answer ({_reason(error)})") from None

    def _ours(self, error: DatabaseError, row: Collection[int]) -> StanzalakeError:
        if isinstance(error, DataError):
            return RowRefused("a value does not fit its column")
        if error.code == _TOO_LARGE:
            return ResultTooLarge(f"ClickHouse does not give so much ({_reason(error)})")
        if error.code in row:
            return RowRefused(f"ClickHouse does not take a row ({_reason(error)})")
        if error.code in DENIED:
            return StoreDenied(
                f"ClickHouse does not let user {self._user!r} do this ({_reason(error)}): "
                f"look at {self._setting}, and at what this user is granted"
            )
        answered = error.code is not None and error.code not in PASSING
        if answered or isinstance(error, ProgrammingError):
            return StoreRefused(f"ClickHouse refused it ({_reason(error)})")
        return StoreUnavailable(f"ClickHouse does not answer ({_reason(error)})")


def _options(settings: Settings) -> dict[str, Any]:
    timeout = settings.clickhouse_timeout
    return {
        **({} if settings.compression else {"compress": False}),
        "connect_timeout": min(timeout, _CONNECT_SECONDS),
        "send_receive_timeout": timeout,
        "ca_cert": settings.clickhouse_ca_file and str(settings.clickhouse_ca_file),
        "settings": cluster_settings(timeout) if settings.clickhouse_cluster else {},
    }


def cluster_settings(timeout: int) -> dict[str, Any]:
    """Give what makes the answer to an insert a promise, and lets reads see what was promised.

    Args:
        timeout: Seconds that the client waits for an answer.
    """
    return {
        # An insert is answered once the shards have it, and most replicas of each. The server
        # gives up on them before the client gives up on the server.
        "distributed_foreground_insert": 1,
        "insert_quorum": "auto",
        "insert_quorum_timeout": timeout * 900,
        # Reads go where writes went: to the first replica that is up.
        "load_balancing": "in_order",
        "prefer_localhost_replica": 0,
        # An owner's rows are on one shard, and so is what a subquery asks about them.
        "optimize_skip_unused_shards": 1,
        "distributed_product_mode": "local",
    }


def _server(dsn: str, options: Mapping[str, Any]) -> dict[str, Any]:
    secure = urlsplit(dsn).scheme in {"clickhouses", "https"}
    return {
        "interface": "https" if secure else "http",
        "client_name": "stanzalake",
        "compress": "zstd",
        # One session would serve one query at a time.
        "autogenerate_session_id": False,
        "dedicated_pool": True,
        **options,
    }


def _reason(error: Exception) -> str:
    """Name an error by the server's word for it, or by what happened on the way."""
    if isinstance(error, DatabaseError) and error.code is not None:
        return f"error {error.code} {error.name}"
    cause = error.__cause__ or error
    return type(getattr(cause, "reason", None) or cause).__name__

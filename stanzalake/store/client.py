"""Store client: ClickHouse over HTTP, or the embedded engine (chDB), behind one interface."""

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import accumulate
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver import options
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DatabaseError,
    DataError,
    ProgrammingError,
    StreamFailureError,
)
from msgspec import UNSET

from stanzalake.config import data_dir
from stanzalake.config.settings import Settings
from stanzalake.errors import (
    AnswerCut,
    DataDirInUse,
    ResultTooLarge,
    RowRefused,
    StanzalakeError,
    StatementTimeout,
    StoreDenied,
    StoreRefused,
    StoreUnavailable,
)
from stanzalake.model.event import Message
from stanzalake.observability.metrics import STORAGE_OPERATIONS
from stanzalake.store.chdb import analyst_grants, links
from stanzalake.store.chdb.engine import let_rewriting_give_way, load_chdb
from stanzalake.store.pool import Pool
from stanzalake.store.traits import traits

TRANSIENT = {
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
"""ClickHouse error codes worth a retry (src/Common/ErrorCodes.cpp)."""

DENIED = {
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
}
"""ClickHouse error codes that an operator has to resolve: credentials and grants."""

ROW_ERRORS = {
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
"""ClickHouse error codes that blame the values of a row, when an insert returns them."""

_SUFFIXES = {
    "messages": "",
    "preferences": "_preferences",
    "erasures": "_erasures",
    "changes": "_changes",
    "touched": "_touched",
    "computed": "_computed",
    "computed_months": "_computed_months",
    "dirty": "_dirty",
    "staged": "_staged",
    "recent": "_recent",
    "recent_reads": "_recent_reads",
    "recent_traffic": "_recent_traffic",
    "traffic": "_traffic",
    "erased": "_erased",
    "tombstones": "_tombstones",
    "retracted": "_retracted",
    "migrations": "_migrations",
    "retention": "_retention",
    "own_retention": "_own_retention",
    "own_horizons": "_own_horizons",
    "hidden": "_hidden",
}
"""Suffixes of the tables' names, by the parameter that stands for each."""

_EXCEEDED = {159: StatementTimeout, 396: ResultTooLarge}
"""Errors of statements that exceed the bounds set for them."""

_CONNECT_SECONDS = 10
_INSERT = {
    # A batch may touch any number of partitions; ClickHouse refuses more than 100 by default.
    "max_partitions_per_insert_block": 0,
    # From 26.2 on a server gathers inserts by default, which takes 50 ms or more for each. Rows
    # are readable on return either way, whatever the user's profile says.
    "async_insert": 0,
    "wait_for_async_insert": 1,
}
"""https://clickhouse.com/docs/optimize/asynchronous-inserts"""
GIVES_TRAITS = {
    "insert_allow_materialized_columns": 1,
    # Columns that are not named have their defaults all the same. Otherwise expressions are
    # planned though their values are given.
    "input_format_defaults_for_omitted_fields": 0,
}
"""https://clickhouse.com/docs/operations/settings/settings"""
_SMALL_INSERT = 64 * 1024
"""Characters of stanzas up to which their traits are found sooner than ClickHouse plans to."""
_TRAITS = "traits"


class Row(NamedTuple):
    """A stored message; fields in the order of the table's columns."""

    owner: str
    position: int
    peer: str
    peer_resource: str
    direction: str
    kind: str
    stanza: str
    legacy_id: str = ""
    occupant: str = ""

    @classmethod
    def of(cls, message: Message, stanza: str, legacy_id: str = "") -> "Row":
        """Build the row of a message.

        Args:
            message: The event.
            stanza: The stanza as stored, excluded elements stripped.
            legacy_id: Archive id from before the import; empty for messages of our own.
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
            occupant="" if message.occupant is UNSET else message.occupant,
        )


class Store:
    """Thread-safe store client. All calls block; run them in threads.

    Args:
        dsn: In the format of `STANZALAKE_CLICKHOUSE_DSN`.
        table: Name of the messages table; an identifier.
        server: Extra arguments of `clickhouse_connect.get_client` for a server.
        engine: Extra arguments of `clickhouse_connect.get_client` for the embedded engine.
        gather: Whether a server may gather messages of several writers before it writes a part.
        distributed: Whether the tables are on a cluster.
        setting: Name of the setting that holds the DSN, quoted in errors.

    Raises:
        StoreUnavailable: No answer, or the directory cannot be opened.
        StoreDenied: Unknown user or wrong password.
    """

    def __init__(  # noqa: PLR0913  # how it is reached, by the kind of DSN
        self,
        dsn: str,
        table: str,
        server: Mapping[str, Any] | None = None,
        setting: str = "STANZALAKE_CLICKHOUSE_DSN",
        engine: Mapping[str, Any] | None = None,
        *,
        gather: bool = False,
        distributed: bool = False,
    ) -> None:
        self.table = table
        self._of_messages = {**_INSERT, "async_insert": int(gather)}
        # Where a server gathers inserts it plans for all of them at once, and what a cluster makes
        # of the column is its own.
        self._may_give_traits = not gather and not distributed
        self._names = {name: table + suffix for name, suffix in _SUFFIXES.items()}
        self._lock = ExitStack()
        self._setting = setting
        self._user = unquote(urlsplit(dsn).username or "default")
        embedded = dsn.startswith("chdb:")
        own = (engine or {}) if embedded else _server_arguments(dsn, server or {})
        # The first insert would import pandas and NumPy (40 MB) only to find that rows are neither
        # a data frame nor an array.
        options.pd = options.np = None
        with self._translate_errors():
            if embedded:
                load_chdb()
            # An embedded client runs one statement at a time. What a failed one has written of its
            # result would begin that of the next one.
            make = partial(clickhouse_connect.get_client, dsn=dsn, **own)
            self._clients = Pool(make, is_reusable=not embedded)
            if embedded:
                let_rewriting_give_way()
        self._column_types: dict[tuple[str, ...], Sequence[ClickHouseType]] = {}

    @classmethod
    def of(cls, settings: Settings) -> "Store":
        """Open the store of the settings; raises as the class does.

        Locks the data directory until `close`. If `stanzalake up` holds the lock and shares its
        engine, connects to that process instead.

        Raises:
            DataDirInUse: Another process holds the data directory without sharing its engine.
        """
        return cls._open(settings, settings.dsn, "STANZALAKE_CLICKHOUSE_DSN")

    @classmethod
    def for_admin(cls, settings: Settings) -> "Store":
        """Open the store as the administrator, who may alter the schema; raises as `of` does."""
        own = settings.clickhouse_admin_dsn is not None
        setting = "STANZALAKE_CLICKHOUSE_ADMIN_DSN" if own else "STANZALAKE_CLICKHOUSE_DSN"
        return cls._open(settings, settings.admin_dsn, setting)

    @classmethod
    def _open(cls, settings: Settings, dsn: str, setting: str) -> "Store":
        if settings.store_dir is None:
            return cls(
                dsn,
                settings.store,
                _options(settings),
                setting,
                gather=settings.clickhouse_async_insert,
                distributed=bool(settings.clickhouse_cluster),
            )
        with ExitStack() as lock:
            try:
                lock.enter_context(data_dir.hold_data_dir(settings.data_dir))
            except DataDirInUse:
                return cls._connect_shared(settings)
            links.restore(settings.store_dir)
            store = cls(dsn, settings.store, engine={"chdb_options": _engine_options(settings)})
            store._lock = lock.pop_all()
            return store

    @classmethod
    def _connect_shared(cls, settings: Settings) -> "Store":
        dsn = data_dir.store_dsn(settings.data_dir)
        try:
            return cls(dsn, settings.store, _options(settings), "STANZALAKE_DATA_DIR")
        except StoreUnavailable as error:
            raise DataDirInUse(
                f"{settings.data_dir} is in use by another process of stanzalake, "
                f"and the store that it shares cannot be reached: {error}"
            ) from error

    def insert(self, rows: Sequence[Any], suffix: str = "") -> None:
        """Insert rows, readable on return. Inserting a row again is idempotent.

        Args:
            rows: Named tuples whose fields are columns of the table.
            suffix: Appended to the name of the messages table.

        Raises:
            StoreUnavailable: Outcome unknown; insert again.
            RowRefused: A value does not fit its column; no row is written.
            StoreRefused: Refused for a reason that no row is to blame for.
        """
        if not rows:
            return
        STORAGE_OPERATIONS.labels("archive", "insert").inc()
        fields, given = rows[0]._fields, _INSERT if suffix else self._of_messages
        if not suffix and fields == Row._fields and self._gives_traits(rows):
            try:
                with_traits = [(*row, traits(row.stanza)) for row in rows]
                self._insert(with_traits, suffix, (*fields, _TRAITS), {**given, **GIVES_TRAITS})
            except StoreRefused:
                # A profile may forbid the settings. If the rows are at fault, they are here, too.
                self._insert(rows, suffix, fields, given)
                self._may_give_traits = False
        else:
            self._insert(rows, suffix, fields, given)

    def _insert(
        self, rows: Sequence[Any], suffix: str, fields: tuple[str, ...], given: dict[str, Any]
    ) -> None:
        table = self.table + suffix
        with self._translate_errors(ROW_ERRORS), self._clients.borrow() as client:
            types = self._types(client, table, fields)
            client.insert(table, rows, column_names=fields, column_types=types, settings=given)

    def select(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[Sequence[Any]]:
        """Run a query with ``{name:Type}`` parameters and return its rows.

        ``{messages:Identifier}`` and the like name the tables, see `_SUFFIXES`.

        Raises:
            StoreUnavailable: No answer; may work later.
            StoreRefused: The statement is at fault.
            ResultTooLarge: The result exceeds a bound set in the statement.
        """
        STORAGE_OPERATIONS.labels("archive", "select").inc()
        with self._translate_errors(), self._clients.borrow() as client:
            return client.query(statement, parameters=self._bind(statement, parameters)).result_rows

    def download(
        self, statement: str, parameters: Mapping[str, Any], form: str, file: BinaryIO
    ) -> None:
        """Write a query's result to a file in one of ClickHouse's formats; raises as `select`."""
        STORAGE_OPERATIONS.labels("archive", "select").inc()
        with self._translate_errors(), self._clients.borrow() as client:
            bound = self._bind(statement, parameters)
            with client.raw_stream(statement, parameters=bound, fmt=form) as stream:
                shutil.copyfileobj(stream, file)

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement without a result; raises as `select` does."""
        STORAGE_OPERATIONS.labels("archive", "command").inc()
        with self._translate_errors(), self._clients.borrow() as client:
            client.command(statement, parameters=self._bind(statement, parameters))

    def size(self) -> int:
        """Return the bytes of the messages table on this server's disk; raises as `select`."""
        [(size,)] = self.select(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active"
            " AND database = currentDatabase() AND table IN {tables:Array(String)}",
            {"tables": [self.table, f"{self.table}_local"]},
        )
        return int(size)

    def close(self) -> None:
        """Close all connections and release the data directory."""
        self._clients.close()
        self._lock.close()

    def _gives_traits(self, rows: Iterable[Row]) -> bool:
        sizes = accumulate(len(row.stanza) for row in rows)
        return self._may_give_traits and all(size <= _SMALL_INSERT for size in sizes)

    def _types(
        self, client: Client, table: str, fields: tuple[str, ...]
    ) -> Sequence[ClickHouseType]:
        """Return the types of columns, for which the driver would ask before each insert.

        ClickHouse converts values of a type that has changed since.
        """
        key = (table, *fields)
        if key not in self._column_types:
            # The driver knows nothing of a computed column.
            named = [field for field in fields if field != _TRAITS]
            types = client.create_insert_context(table, named).column_types
            given = [get_from_name("UInt16")] if _TRAITS in fields else []
            self._column_types[key] = [*types, *given]
        return self._column_types[key]

    def _bind(self, statement: str, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
        names = {n: v for n, v in self._names.items() if f"{{{n}:" in statement}
        return {**names, **(parameters or {})}

    @contextmanager
    def _translate_errors(self, row: Collection[int] = ()) -> Iterator[None]:
        """Translate the driver's errors into ours, which never quote a value.

        Args:
            row: Codes that blame the values of a row.
        """
        try:
            yield
        except StreamFailureError as error:
            raise AnswerCut("ClickHouse broke off in the middle of an answer") from _redact(error)
        except DatabaseError as error:
            raise self._translate(error, row) from _redact(error)
        except (ClickHouseError, OSError, RuntimeError) as error:
            reason = f"ClickHouse does not answer ({_reason(error)})"
            raise StoreUnavailable(reason) from _redact(error)

    def _translate(self, error: DatabaseError, row: Collection[int]) -> StanzalakeError:
        if isinstance(error, DataError):
            return RowRefused("a value does not fit its column")
        if error.code in _EXCEEDED:
            return _EXCEEDED[error.code](f"ClickHouse does not give so much ({_reason(error)})")
        if error.code in row:
            return RowRefused(f"ClickHouse does not take a row ({_reason(error)})")
        if error.code in DENIED:
            return StoreDenied(
                f"ClickHouse does not let user {self._user!r} do this ({_reason(error)}): "
                f"look at {self._setting}, and at what this user is granted"
            )
        answered = error.code is not None and error.code not in TRANSIENT
        if answered or isinstance(error, ProgrammingError):
            return StoreRefused(f"ClickHouse refused it ({_reason(error)})")
        return StoreUnavailable(f"ClickHouse does not answer ({_reason(error)})")


def _engine_options(settings: Settings) -> dict[str, str]:
    directory = settings.data_dir.absolute()
    options = {"backups.allowed_path": str(directory / "backups")}
    if settings.analysts:
        config = analyst_grants.configure(directory / "engine", settings.store)
        options["config-file"] = str(config)
    return options


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
    """Return the settings for durable inserts and for reads that see them, on a cluster.

    Args:
        timeout: Seconds that the client waits for an answer.
    """
    return {
        # Acknowledge an insert once a majority of each shard's replicas have it. The server
        # times out before the client does.
        "distributed_foreground_insert": 1,
        "insert_quorum": "auto",
        "insert_quorum_timeout": timeout * 900,
        # Read where writes went: the first replica that is up.
        "load_balancing": "in_order",
        "prefer_localhost_replica": 0,
        # An owner's rows, those of subqueries included, are on one shard.
        "optimize_skip_unused_shards": 1,
        "distributed_product_mode": "local",
    }


def _server_arguments(dsn: str, options: Mapping[str, Any]) -> dict[str, Any]:
    secure = urlsplit(dsn).scheme in {"clickhouses", "https"}
    return {
        "interface": "https" if secure else "http",
        "client_name": "stanzalake",
        "compress": "zstd",
        # A session runs one query at a time.
        "autogenerate_session_id": False,
        "dedicated_pool": True,
        **options,
    }


class _DriverError(Exception):
    """Stands in for an error of the driver, whose own text may quote values."""


def _redact(error: Exception) -> Exception:
    """Return the error's name and traceback, which quote no value, as the cause for the log."""
    return _DriverError(_reason(error)).with_traceback(error.__traceback__)


def _reason(error: Exception) -> str:
    """Name an error: ClickHouse's code and name, or the network error with the system's text."""
    if isinstance(error, DatabaseError) and error.code is not None:
        return f"error {error.code} {error.name}"
    cause = error.__cause__ or error
    name = type(getattr(cause, "reason", None) or cause).__name__
    texts = (e.strerror for e in _causes(error) if isinstance(e, OSError) and e.strerror)
    return ": ".join((name, *texts))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes; urllib3 keeps one of them in `reason`."""
    while isinstance(error, BaseException):
        yield error
        error = getattr(error, "reason", None) or error.__cause__

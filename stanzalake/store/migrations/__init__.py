"""Schema migrations: numbered SQL files, each applied once, and the clauses that settings decide.

In the files ``{table}`` is the name of the messages table, ``{bodies}`` and ``{traffic}`` are the
views in bodies.sql and traffic.sql; ``{local}`` and ``{on_cluster}`` are empty on a single server.
On a cluster each server has a replicated ``..._local`` table, and a `Distributed` table under the
plain name shards by owner. A view with SQL SECURITY DEFINER is ``..._local`` as well: ClickHouse
does not apply the definer's grants to a distributed table below a view.
"""

import logging
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from itertools import chain
from typing import NamedTuple

from stanzalake.config.settings import Settings
from stanzalake.errors import SchemaBehind
from stanzalake.model.retention import FOREVER, Retention
from stanzalake.store import expressions, schema_version
from stanzalake.store.chdb.engine import let_rewriting_give_way
from stanzalake.store.client import Store
from stanzalake.store.dictionary import VIEWS_OF_DAYS, VIEWS_OF_MONTHS
from stanzalake.store.erasures import Erasures
from stanzalake.store.migrations import new_store
from stanzalake.store.retention import NEVER, OWN_HORIZON, RetentionRecord, seconds
from stanzalake.store.tombstones import (
    MESSAGES_OF_VIEWS,
    MESSAGES_WITH_BLOCKS,
    NEW_MESSAGES_OF_VIEWS,
    PENDING,
)

log = logging.getLogger(__name__)

_FILES = resources.files(__name__)

AGGREGATES = {name: (_FILES / f"aggregate_{name}.sql").read_text() for name in VIEWS_OF_DAYS}
"""Statements that aggregate the days of ``{days}``, by the name of their view.

``{days_and_eves}`` are these days and those before them, ``{traffic}`` a source of their messages.
"""

MONTHLY_AGGREGATES = {name: (_FILES / f"{name}.sql").read_text() for name in VIEWS_OF_MONTHS}
"""Statements that add up the days of ``{months}``, by the name of their view."""

_AT = "fromUnixTimestamp64Milli(toInt64(bitShiftRight(position, 16)), 'UTC')"
PARTITION_KEYS = {
    "month": f"toYYYYMM({_AT})",
    "quarter": f"toStartOfQuarter({_AT})",
    "year": f"toYear({_AT})",
}
"""Partition keys of the messages table as ClickHouse formats them, by the setting for each."""

TOUCH_ALL = """
INSERT INTO {touched:Identifier} (day, at)
SELECT DISTINCT toDate(toDateTime(intDiv(position, 65536000), 'UTC')), now64(6, 'UTC')
FROM {messages:Identifier}"""
"""Statement that records all days as changed."""

FORGET_RECENT = """
INSERT INTO {recent_reads:Identifier} (is_read, at, low, block)
SELECT false, now64(6, 'UTC'), 0, 0"""
"""Statement that has views read all messages of changed days, until these are read again."""

# No index is looked at for these: the messages' source has bounds of its own.
_DIRTY = "identity(day) GLOBAL IN (SELECT day FROM {table}_dirty)"
_DIRTY_MONTHS = "toStartOfMonth(day) GLOBAL IN (SELECT month FROM {table}_dirty_months)"
_DIRTY_AND_EVES = "identity(day) GLOBAL IN (SELECT arrayJoin([day - 1, day]) FROM {table}_dirty)"
_CODECS = {True: "ZSTD(3)", False: "NONE"}
_BODIES_OF = (_FILES / "bodies.sql").read_text()
_SELECT_OF = _BODIES_OF[_BODIES_OF.index("SELECT\n") : _BODIES_OF.index("\nCOMMENT")]
_POSITIONS_OF = _SELECT_OF.replace("SELECT\n", "SELECT\n    position,\n    block,\n", 1)
_BODIES = _BODIES_OF.replace("{messages}", MESSAGES_OF_VIEWS)
_TRAFFIC = (_FILES / "traffic.sql").read_text().rstrip()
_DIRTY_TRAFFIC = (
    (_FILES / "dirty_traffic.sql")
    .read_text()
    .rstrip()
    .replace("{new_messages}", _SELECT_OF.replace("{messages}", NEW_MESSAGES_OF_VIEWS))
)
_RECENT_TRAFFIC = (
    (_FILES / "recent_traffic.sql")
    .read_text()
    .rstrip()
    .replace("{messages}", _POSITIONS_OF.replace("{messages}", MESSAGES_WITH_BLOCKS))
)
_COLUMNS = (_FILES / "columns.sql").read_text().rstrip()
"""The columns of messages that the views of bodies and of traffic have in common."""
_TABLES_OF_BODIES = set(re.findall(r"\{table\}(_\w+)", _BODIES)) - {"_bodies"}
_NAMES_OF_COLUMNS = [f"`{name}`" for name in re.findall(r"^\s*(\w+) ", _COLUMNS, re.MULTILINE)]
_KEPT = "position >= (greatest(toInt64(toUnixTimestamp(now('UTC'))) - {seconds}, 0) * 65536000)"
_KEPT_SECONDS = re.compile(r"now\('UTC'\)\)\) - (\d+), 0")
_LOCAL = re.compile(r"(TABLE|VIEW) (?:IF NOT EXISTS )?\{table\}(\w*)\{local\}")
_SHARDING_KEYS = {"TABLE": ", cityHash64(owner)", "VIEW": ""}
_VIEWS_OF_MESSAGES = ("_bodies", "_dirty_traffic", "_recent_traffic")
_TTL_TIMEOUT = "merge_with_ttl_timeout"
_REFUSING = "max_parts_in_total"
_RECORD = """
CREATE TABLE IF NOT EXISTS {table}_migrations{on_cluster}
(
    number     UInt16,
    name       String,
    applied_at DateTime('UTC') DEFAULT now('UTC'),
    version    String
)
ENGINE = {record_engine} ORDER BY number
"""
_RECORD_VERSION = (
    "ALTER TABLE {table}_migrations{on_cluster} ADD COLUMN IF NOT EXISTS version String"
)
# A Distributed table holds no rows, so replacing it to follow new columns loses nothing.
_DISTRIBUTED = """
CREATE OR REPLACE TABLE {table}{suffix}{on_cluster} AS {table}{suffix}_local
ENGINE = Distributed('{cluster}', currentDatabase(), '{table}{suffix}_local'{key})
"""


class Migration(NamedTuple):
    """A numbered SQL file."""

    number: int
    name: str
    sql: str


class _Row(NamedTuple):
    """An applied migration; fields in the order of the table's columns."""

    number: int
    name: str
    version: str


class Target(NamedTuple):
    """Names that migrations are rendered with.

    Attributes:
        table: Name of the messages table.
        cluster: Name of the cluster; empty for a single server.
        retention: For how long messages are kept.
        time_zone: Name of the time zone of local hours.
        partition_by: By what messages are partitioned, a key of `PARTITION_KEYS`.
    """

    table: str
    cluster: str = ""
    retention: Retention = FOREVER
    time_zone: str = "UTC"
    partition_by: str = "year"

    @classmethod
    def of(cls, store: Store, settings: Settings) -> "Target":
        """Return the names for a store and its settings."""
        return cls(
            store.table,
            settings.clickhouse_cluster,
            settings.retention,
            settings.time_zone,
            settings.partition_by,
        )

    def local(self, suffix: str = "") -> str:
        """Return the name of a MergeTree table, or of a view over one."""
        return f"{self.table}{suffix}{'_local' if self.cluster else ''}"

    def record(self) -> Iterator[str]:
        """Yield the statements that create the table of applied migrations."""
        yield self.fill(_RECORD)
        yield self.fill(_RECORD_VERSION)

    def statements(self, migration: Migration) -> Iterator[str]:
        """Yield a migration's statements, all idempotent."""
        for group in self._groups(_expand(migration.sql)):
            yield from group

    def of_new_store(self) -> Iterator[str]:
        """Yield the statements that make the schema of a new store, all idempotent."""
        sql = (_expand(migration.sql) for migration in all_migrations())
        return new_store.statements(self.table, chain.from_iterable(map(self._groups, sql)))

    def bodies(self) -> Iterator[str]:
        """Yield the statements that create the view of bodies, and the internal ones beside it."""
        for group in self._groups(f"{_BODIES};\n{_DIRTY_TRAFFIC};\n{_RECENT_TRAFFIC}"):
            yield from group

    @property
    def kept(self) -> str:
        """Condition for messages that are not expired, as ClickHouse formats it."""
        return _KEPT.format(seconds=seconds(self.retention))

    def _groups(self, sql: str) -> Iterator[list[str]]:
        """Yield each statement, with the one that makes its Distributed table anew."""
        for statement in filter(str.strip, sql.split(";\n")):
            local = _LOCAL.search(statement) if self.cluster else None
            follow_up = [self.distributed(*local.groups())] if local else []
            yield [self.fill(statement), *follow_up]

    def distributed(self, kind: str = "TABLE", suffix: str = "") -> str:
        """Return the statement that creates the Distributed table over a ``..._local`` one."""
        return self.fill(_DISTRIBUTED, suffix, _SHARDING_KEYS[kind])

    def alter(self, change: str) -> str:
        """Return the ALTER statement of the messages table."""
        return f"ALTER TABLE {self.on_every_server()} {change}"

    def on_every_server(self, suffix: str = "") -> str:
        """Return a MergeTree table's name for ALTER and DELETE, with ON CLUSTER if there is one."""
        return self.fill("{table}{suffix}{local}{on_cluster}", suffix)

    def on_every_table(self, suffix: str) -> str:
        """Return the name, for ALTER, of a table that all servers of a cluster share."""
        return self.fill("{table}{suffix}{on_cluster}", suffix)

    def fill(self, sql: str, suffix: str = "", key: str = "") -> str:
        """Return a statement with its names and clauses filled in."""
        replicated = bool(self.cluster)
        return sql.format(
            table=self.table,
            suffix=suffix,
            key=key,
            cluster=self.cluster,
            local="_local" if replicated else "",
            on_cluster=f" ON CLUSTER '{self.cluster}'" if replicated else "",
            engine="ReplicatedReplacingMergeTree" if replicated else "ReplacingMergeTree",
            record_engine=_RECORD_ENGINES[replicated],
            codec=_CODECS[True],
            partition_key=PARTITION_KEYS[self.partition_by],
            body=expressions.BODY,
            traits=expressions.TRAITS,
            encryption=expressions.ENCRYPTION,
            message_id=expressions.MESSAGE_ID,
            thread=expressions.THREAD,
            of_occupant=expressions.OF_OCCUPANT,
            columns=_COLUMNS,
            time_zone=self.time_zone,
            touched_engine=_TOUCHED_ENGINES[replicated],
            own_retention_engine=_OWN_RETENTION_ENGINES[replicated],
            **{
                name: text.format(
                    traffic=f"{self.table}_dirty_traffic",
                    days=_DIRTY.format(table=self.table),
                    days_and_eves=_DIRTY_AND_EVES.format(table=self.table),
                )
                for name, text in AGGREGATES.items()
            },
            **{
                name: text.format(table=self.table, months=_DIRTY_MONTHS.format(table=self.table))
                for name, text in MONTHLY_AGGREGATES.items()
            },
            kept=self.kept,
            own_horizon=OWN_HORIZON,
            secret=(secrets.randbits(64), secrets.randbits(64)),
        )


_RECORD_ENGINES = {
    False: "MergeTree",
    # A path without the shard: all servers of the cluster share the table.
    True: "ReplicatedMergeTree('/clickhouse/tables/{uuid}/all', '{shard}-{replica}')",
}


_TOUCHED_ENGINES = {
    False: "ReplacingMergeTree(at)",
    True: "ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/all', '{shard}-{replica}', at)",
}

_OWN_RETENTION_ENGINES = {
    False: "ReplacingMergeTree(position)",
    True: "ReplicatedReplacingMergeTree("
    "'/clickhouse/tables/{uuid}/{shard}', '{replica}', position)",
}


def _expand(sql: str) -> str:
    """Return a file's text with the views that several files share."""
    sql = sql.replace("{bodies}", _BODIES).replace("{traffic}", _TRAFFIC)
    sql = sql.replace("{recent_traffic}", _RECENT_TRAFFIC)
    return sql.replace("{dirty_traffic}", _DIRTY_TRAFFIC).replace("{pending}", PENDING)


def all_migrations() -> Iterator[Migration]:
    """Yield the numbered files in order."""
    for file in sorted(_FILES.iterdir(), key=lambda f: f.name):
        if not re.fullmatch(r"\d+_\w+\.sql", file.name):
            continue
        number, _, rest = file.name.partition("_")
        yield Migration(int(number), rest.removesuffix(".sql"), file.read_text())


def apply(store: Store, settings: Settings) -> list[str]:
    """Apply missing migrations, then the clauses that settings decide. Idempotent.

    Returns:
        The names of the migrations that were missing.

    Raises:
        SchemaAhead: The schema is of a later version than the next one.
    """
    target = Target.of(store, settings)
    former = _former_retention(store, target)
    for statement in target.record():
        store.command(statement)
    schema_version.require_near(store)
    missing = list(_missing(store))
    if len(missing) == len(list(all_migrations())):
        _apply(store, target.of_new_store(), missing)
    else:
        for migration in missing:
            _apply(store, target.statements(migration), [migration])
    let_rewriting_give_way()  # by threads that start with the first table
    Erasures(store).fill()
    _record_retention(store, former or settings.retention)
    _apply_settings(store, target, settings)
    return [migration.name for migration in missing]


def check(store: Store) -> None:
    """Return if all migrations of this version are applied; those of the next are accepted.

    For the services, whose users may not alter the schema.

    Raises:
        SchemaBehind: A migration is missing; the text names the command that applies it.
        SchemaAhead: The schema is of a later version than the next one.
    """
    missing = _all_missing(store)
    if missing:
        names = ", ".join(f"{migration.number:03d} {migration.name}" for migration in missing)
        raise SchemaBehind(f"the schema of {store.table} lacks {names}: run stanzalake migrate")
    schema_version.require_near(store)


def pending(store: Store, settings: Settings) -> list[str]:
    """Return the names of missing migrations, and the ALTER clauses that the settings need."""
    missing = [migration.name for migration in _all_missing(store)]
    [(exists,)] = store.select("EXISTS TABLE {messages:Identifier}")
    return missing + (pending_changes(store, settings) if exists else [])


def _all_missing(store: Store) -> list[Migration]:
    [(exists,)] = store.select("EXISTS TABLE {migrations:Identifier}")
    return list(_missing(store) if exists else all_migrations())


def pending_changes(store: Store, settings: Settings) -> list[str]:
    """Return the ALTER clauses that the settings still need; raises as `apply` does."""
    target = Target.of(store, settings)
    changes = _pending_changes(store, target, settings)
    return [*changes, *(["a new view of bodies"] if _is_outdated(store, target) else [])]


def _missing(store: Store) -> Iterator[Migration]:
    applied = {row[0] for row in store.select("SELECT number FROM {migrations:Identifier}")}
    return (migration for migration in all_migrations() if migration.number not in applied)


def _apply(store: Store, statements: Iterable[str], migrations: Sequence[Migration]) -> None:
    for statement in statements:
        store.command(statement)
    version = schema_version.current()
    store.insert([_Row(m.number, m.name, version) for m in migrations], "_migrations")
    for migration in migrations:
        log.info("schema of %s: applied %03d %s", store.table, migration.number, migration.name)


def _apply_settings(store: Store, target: Target, settings: Settings) -> None:
    changes = _pending_changes(store, target, settings)
    for change in changes:
        store.command(target.alter(change))
        log.info("schema of %s: %s", target.local(), change)
    if changes and target.cluster:
        store.command(target.distributed())
    if _is_outdated(store, target):
        # Before, should this be interrupted, and after, for days that are computed meanwhile.
        touch = (TOUCH_ALL, FORGET_RECENT) if _counts_otherwise(store, target) else ()
        for statement in (*touch, *target.bodies(), *touch):
            store.command(statement)


def _pending_changes(store: Store, target: Target, settings: Settings) -> list[str]:
    current = _definition(store, target.local())
    codec = _CODECS[settings.compression]
    changes = []
    if f"`stanza` String CODEC({codec})" not in current:
        changes.append(f"MODIFY COLUMN stanza CODEC({codec})")
    # Of older versions: expired rows leave by a mutation now.
    if " TTL " in current:
        changes.append("REMOVE TTL")
    if _TTL_TIMEOUT in current:
        changes.append(f"RESET SETTING {_TTL_TIMEOUT}")
    # Of a change of partitions that was interrupted: nothing could be inserted.
    if f"{_REFUSING} = " in current:
        changes.append(f"RESET SETTING {_REFUSING}")
    return changes


def _former_retention(store: Store, target: Target) -> Retention | None:
    """Return the retention of a version that did not record it: the view of bodies has it."""
    kept = _KEPT_SECONDS.search(_definition(store, target.local("_bodies")))
    if kept is None:
        return None
    return FOREVER if int(kept[1]) == NEVER else Retention(int(kept[1]))


def _record_retention(store: Store, retention: Retention) -> None:
    record = RetentionRecord(store)
    if record.read() is None:
        record.write(retention)


def _is_outdated(store: Store, target: Target) -> bool:
    """Return whether a view of messages follows other settings, or was made by a former version.

    A former version makes the view as it knows it, if its settings change after an upgrade.
    """
    views = [_definition(store, target.local(view)) for view in _VIEWS_OF_MESSAGES]
    tables = (target.table + suffix for suffix in _TABLES_OF_BODIES)
    expected = (target.kept, _hours(target), *_NAMES_OF_COLUMNS, *tables)
    return not all(text in view for view in views for text in expected)


def _counts_otherwise(store: Store, target: Target) -> bool:
    """Return whether the view and computed days are of another time zone or retention."""
    current = _definition(store, target.local("_bodies"))
    return not (_hours(target) in current and target.kept in current)


def _hours(target: Target) -> str:
    return f"'{target.time_zone}') AS local_hour"


def _definition(store: Store, name: str) -> str:
    """Return the CREATE statement of a table or view; empty if there is none."""
    rows = store.select(
        "SELECT create_table_query FROM system.tables"
        " WHERE database = currentDatabase() AND name = {name:String}",
        {"name": name},
    )
    return "".join(text for (text,) in rows)

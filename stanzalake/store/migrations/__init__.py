"""Schema migrations: numbered SQL files, each applied once, and the clauses that settings decide.

In the files ``{table}`` is the name of the messages table; ``{local}`` and ``{on_cluster}`` are
empty on a single server. On a cluster each server has a replicated ``..._local`` table, and a
`Distributed` table under the plain name shards by owner. A view with SQL SECURITY DEFINER is
``..._local`` as well: ClickHouse does not apply the definer's grants to a distributed table below
a view.
"""

import logging
import re
import secrets
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

from stanzalake.config.settings import Settings
from stanzalake.errors import SchemaBehind
from stanzalake.store.client import Store

log = logging.getLogger(__name__)

_CODECS = {True: "ZSTD(3)", False: "NONE"}
_AGE = "toDateTime(intDiv(position, 65536000), 'UTC')"
_LOCAL = re.compile(r"(TABLE|VIEW) (?:IF NOT EXISTS )?\{table\}(\w*)\{local\}")
_SHARDING_KEYS = {"TABLE": ", cityHash64(owner)", "VIEW": ""}
_RECORD = """
CREATE TABLE IF NOT EXISTS {table}_migrations{on_cluster}
(
    number     UInt16,
    name       String,
    applied_at DateTime('UTC') DEFAULT now('UTC')
)
ENGINE = {record_engine} ORDER BY number
"""
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


class Target(NamedTuple):
    """Names that migrations are rendered with.

    Attributes:
        table: Name of the messages table.
        cluster: Name of the cluster; empty for a single server.
    """

    table: str
    cluster: str = ""

    @property
    def local(self) -> str:
        """Name of the MergeTree table of messages."""
        return f"{self.table}_local" if self.cluster else self.table

    def record(self) -> str:
        """Return the statement that creates the table of applied migrations."""
        return self._fill(_RECORD)

    def statements(self, migration: Migration) -> Iterator[str]:
        """Yield a migration's statements, all idempotent."""
        for statement in filter(str.strip, migration.sql.split(";\n")):
            yield self._fill(statement)
            local = _LOCAL.search(statement)
            if self.cluster and local:
                yield self.distributed(*local.groups())

    def distributed(self, kind: str = "TABLE", suffix: str = "") -> str:
        """Return the statement that creates the Distributed table over a ``..._local`` one."""
        return self._fill(_DISTRIBUTED, suffix, _SHARDING_KEYS[kind])

    def alter(self, change: str) -> str:
        """Return the ALTER statement of the messages table."""
        return f"ALTER TABLE {self.on_every_server()} {change}"

    def on_every_server(self, suffix: str = "") -> str:
        """Return a MergeTree table's name for ALTER and DELETE, with ON CLUSTER if there is one."""
        return self._fill("{table}{suffix}{local}{on_cluster}", suffix)

    def _fill(self, sql: str, suffix: str = "", key: str = "") -> str:
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
            secret=(secrets.randbits(64), secrets.randbits(64)),
        )


_RECORD_ENGINES = {
    False: "MergeTree",
    # A path without the shard: all servers of the cluster share the table.
    True: "ReplicatedMergeTree('/clickhouse/tables/{uuid}/all', '{shard}-{replica}')",
}


def all_migrations() -> Iterator[Migration]:
    """Yield the numbered files in order."""
    files = (f for f in resources.files(__name__).iterdir() if f.name.endswith(".sql"))
    for file in sorted(files, key=lambda f: f.name):
        number, _, rest = file.name.partition("_")
        yield Migration(int(number), rest.removesuffix(".sql"), file.read_text())


def apply(store: Store, settings: Settings) -> list[str]:
    """Apply missing migrations, then the clauses that settings decide. Idempotent.

    Returns:
        The names of the migrations that were missing.
    """
    target = Target(store.table, settings.clickhouse_cluster)
    store.command(target.record())
    missing = list(_missing(store))
    for migration in missing:
        _apply(store, target, migration)
    _apply_settings(store, target, settings)
    return [migration.name for migration in missing]


def check(store: Store) -> None:
    """Return if all migrations of this version are applied; newer ones are accepted.

    For the services, whose users may not alter the schema.

    Raises:
        SchemaBehind: A migration is missing; the text names the command that applies it.
    """
    [(exists,)] = store.select("EXISTS TABLE {migrations:Identifier}")
    missing = list(_missing(store) if exists else all_migrations())
    if missing:
        names = ", ".join(f"{migration.number:03d} {migration.name}" for migration in missing)
        raise SchemaBehind(f"the schema of {store.table} lacks {names}: run stanzalake migrate")


def pending_changes(store: Store, settings: Settings) -> list[str]:
    """Return the ALTER clauses that the settings still need; raises as `apply` does."""
    return _pending_changes(store, Target(store.table, settings.clickhouse_cluster), settings)


def _missing(store: Store) -> Iterator[Migration]:
    applied = {row[0] for row in store.select("SELECT number FROM {migrations:Identifier}")}
    return (migration for migration in all_migrations() if migration.number not in applied)


def _apply(store: Store, target: Target, migration: Migration) -> None:
    for statement in target.statements(migration):
        store.command(statement)
    store.command(
        "INSERT INTO {migrations:Identifier} (number, name)"
        " VALUES ({number:UInt16}, {name:String})",
        {"number": migration.number, "name": migration.name},
    )
    log.info("schema of %s: applied %03d %s", store.table, migration.number, migration.name)


def _apply_settings(store: Store, target: Target, settings: Settings) -> None:
    """Alter only the clauses that differ: a new TTL rewrites every part."""
    changes = _pending_changes(store, target, settings)
    for change in changes:
        store.command(target.alter(change))
        log.info("schema of %s: %s", target.local, change)
    if changes and target.cluster:
        store.command(target.distributed())


def _pending_changes(store: Store, target: Target, settings: Settings) -> list[str]:
    [(current,)] = store.select(
        "SELECT create_table_query FROM system.tables"
        " WHERE database = currentDatabase() AND name = {name:String}",
        {"name": target.local},
    )
    return [
        change
        for clause, change in _clauses(settings)
        if (clause in current) == change.startswith("REMOVE")
    ]


def _clauses(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield a clause of the table's definition with the ALTER that is needed without the clause.

    An ALTER that starts with REMOVE is needed with the clause.
    """
    codec = _CODECS[settings.compression]
    yield f"`stanza` String CODEC({codec})", f"MODIFY COLUMN stanza CODEC({codec})"
    interval = f"merge_with_ttl_timeout = {settings.cleanup_interval}"
    yield interval, f"MODIFY SETTING {interval}"
    if settings.expires_after is None:
        yield " TTL ", "REMOVE TTL"
        expired = "false"
    else:
        end = f"{_AGE} + toIntervalSecond({settings.expires_after})"
        yield f" TTL {end} ", f"MODIFY TTL {end}"
        expired = f"({end}) <= now('UTC')"
    yield f"`expired` Bool ALIAS {expired}", f"MODIFY COLUMN expired Bool ALIAS {expired}"

"""The store's schema: numbered SQL files, applied once each, and what the settings say of it.

In the files ``{table}`` is the name of the table of messages, ``{local}`` and ``{on_cluster}`` are
empty on a single server. On a cluster every server has a replicated ``..._local`` table, and a
`Distributed` table under the plain name spreads owners over the shards. A view that reads what its
readers may not is ``..._local`` as well: a server lets a view read as its definer, but not a
distributed table below the view.
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
_SPREAD_PART = re.compile(r"(TABLE|VIEW) (?:IF NOT EXISTS )?\{table\}(\w*)\{local\}")
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
# A replacement follows the columns of the table behind it, and holds no rows that could be lost.
_SPREAD = """
CREATE OR REPLACE TABLE {table}{part}{on_cluster} AS {table}{part}_local
ENGINE = Distributed('{cluster}', currentDatabase(), '{table}{part}_local'{key})
"""


class Migration(NamedTuple):
    """One numbered file."""

    number: int
    name: str
    sql: str


class Target(NamedTuple):
    """Where migrations are applied.

    Attributes:
        table: Name of the table of messages.
        cluster: Name of the cluster; empty for a single server.
    """

    table: str
    cluster: str = ""

    @property
    def local(self) -> str:
        """Name of the table that holds the messages' bytes."""
        return f"{self.table}_local" if self.cluster else self.table

    def record(self) -> str:
        """Give the statement that makes the record of what is applied."""
        return self._fill(_RECORD)

    def statements(self, migration: Migration) -> Iterator[str]:
        """Give a migration's statements; each may be run again."""
        for statement in filter(str.strip, migration.sql.split(";\n")):
            yield self._fill(statement)
            spread = _SPREAD_PART.search(statement)
            if self.cluster and spread:
                yield self.spread(*spread.groups())

    def spread(self, kind: str = "TABLE", part: str = "") -> str:
        """Give the statement that lets the plain name follow the ``..._local`` table or view."""
        return self._fill(_SPREAD, part, _SHARDING_KEYS[kind])

    def alter(self, change: str) -> str:
        """Give the statement that changes the table of messages."""
        return f"ALTER TABLE {self.changed()} {change}"

    def changed(self, part: str = "") -> str:
        """Give what a change names: the table that holds the bytes of a part, on every server."""
        return self._fill("{table}{part}{local}{on_cluster}", part)

    def _fill(self, sql: str, part: str = "", key: str = "") -> str:
        spread = bool(self.cluster)
        return sql.format(
            table=self.table,
            part=part,
            key=key,
            cluster=self.cluster,
            local="_local" if spread else "",
            on_cluster=f" ON CLUSTER '{self.cluster}'" if spread else "",
            engine="ReplicatedReplacingMergeTree" if spread else "ReplacingMergeTree",
            record_engine=_RECORD_ENGINES[spread],
            codec=_CODECS[True],
            secret=(secrets.randbits(64), secrets.randbits(64)),
        )


_RECORD_ENGINES = {
    False: "MergeTree",
    # One path without the shard: all servers of the cluster share one record.
    True: "ReplicatedMergeTree('/clickhouse/tables/{uuid}/all', '{shard}-{replica}')",
}


def all_migrations() -> Iterator[Migration]:
    """Give the numbered files, in their order."""
    files = (f for f in resources.files(__name__).iterdir() if f.name.endswith(".sql"))
    for file in sorted(files, key=lambda f: f.name):
        number, _, rest = file.name.partition("_")
        yield Migration(int(number), rest.removesuffix(".sql"), file.read_text())


def apply(store: Store, settings: Settings) -> list[str]:
    """Bring the schema up to date and to what the settings say; safe to repeat.

    Returns:
        The names of the migrations that were missing.
    """
    target = Target(store.table, settings.clickhouse_cluster)
    store.command(target.record())
    missing = list(_missing(store))
    for migration in missing:
        _apply(store, target, migration)
    _follow(store, target, settings)
    return [migration.name for migration in missing]


def check(store: Store) -> None:
    """Return if every migration of this version is applied; newer ones do no harm.

    For the services, whose users may not alter anything.

    Raises:
        SchemaBehind: One is missing; the text names the command that applies it.
    """
    [(known,)] = store.select(f"EXISTS TABLE {store.table}_migrations")
    missing = list(_missing(store) if known else all_migrations())
    if missing:
        names = ", ".join(f"{migration.number:03d} {migration.name}" for migration in missing)
        raise SchemaBehind(f"the schema of {store.table} lacks {names}: run stanzalake migrate")


def due(store: Store, settings: Settings) -> list[str]:
    """Give the changes by which the table would follow the settings; raises as `apply` does."""
    return _due(store, Target(store.table, settings.clickhouse_cluster), settings)


def _missing(store: Store) -> Iterator[Migration]:
    done = {row[0] for row in store.select(f"SELECT number FROM {store.table}_migrations")}  # noqa: S608  # an identifier
    return (migration for migration in all_migrations() if migration.number not in done)


def _apply(store: Store, target: Target, migration: Migration) -> None:
    for statement in target.statements(migration):
        store.command(statement)
    store.command(
        f"INSERT INTO {store.table}_migrations (number, name) "  # noqa: S608  # an identifier
        "VALUES ({number:UInt16}, {name:String})",
        {"number": migration.number, "name": migration.name},
    )
    log.info("schema of %s: applied %03d %s", store.table, migration.number, migration.name)


def _follow(store: Store, target: Target, settings: Settings) -> None:
    """Let the table follow the settings, by as few changes as it takes: a new TTL is a rewrite."""
    changes = _due(store, target, settings)
    for change in changes:
        store.command(target.alter(change))
        log.info("schema of %s: %s", target.local, change)
    if changes and target.cluster:
        store.command(target.spread())


def _due(store: Store, target: Target, settings: Settings) -> list[str]:
    [(current,)] = store.select(
        "SELECT create_table_query FROM system.tables"
        " WHERE database = currentDatabase() AND name = {name:String}",
        {"name": target.local},
    )
    return [
        change
        for wanted, change in _clauses(settings)
        if (wanted in current) == change.startswith("REMOVE")
    ]


def _clauses(settings: Settings) -> Iterator[tuple[str, str]]:
    """Give pairs of a text in the table's definition and the change that is due without it.

    A change that removes is due with the text.
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

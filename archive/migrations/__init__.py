"""The store's schema: numbered SQL files, applied once each, and what the settings say of it."""

import logging
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

from archive.settings import Settings
from archive.store import Store

log = logging.getLogger(__name__)

_CODECS = {True: "ZSTD(3)", False: "NONE"}
_ENGINE = "ReplacingMergeTree"
_AGE = "toDateTime(intDiv(position, 65536000), 'UTC')"
_RECORD = """
CREATE TABLE IF NOT EXISTS {table}_migrations
(
    number     UInt16,
    name       String,
    applied_at DateTime('UTC') DEFAULT now('UTC')
)
ENGINE = MergeTree ORDER BY number
"""


class Migration(NamedTuple):
    """One numbered file."""

    number: int
    name: str
    sql: str


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
    store.command(_RECORD.format(table=store.table))
    done = {row[0] for row in store.select(f"SELECT number FROM {store.table}_migrations")}  # noqa: S608  # an identifier
    missing = [migration for migration in all_migrations() if migration.number not in done]
    for migration in missing:
        _apply(store, migration)
    _follow(store, settings)
    return [migration.name for migration in missing]


def _apply(store: Store, migration: Migration) -> None:
    statements = migration.sql.format(table=store.table, codec=_CODECS[True], engine=_ENGINE)
    for statement in filter(str.strip, statements.split(";\n")):
        store.command(statement)
    store.command(
        f"INSERT INTO {store.table}_migrations (number, name) "  # noqa: S608  # an identifier
        "VALUES ({number:UInt16}, {name:String})",
        {"number": migration.number, "name": migration.name},
    )
    log.info("schema of %s: applied %03d %s", store.table, migration.number, migration.name)


def _follow(store: Store, settings: Settings) -> None:
    """Let the table follow the settings, by as few changes as it takes: a new TTL is a rewrite."""
    [(current,)] = store.select(
        "SELECT create_table_query FROM system.tables"
        " WHERE database = currentDatabase() AND name = {name:String}",
        {"name": store.table},
    )
    for wanted, change in _clauses(settings):
        if (wanted in current) != change.startswith("REMOVE"):
            continue
        store.command(f"ALTER TABLE {store.table} {change}")
        log.info("schema of %s: %s", store.table, change)


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
    else:
        ttl = f"TTL {_AGE} + toIntervalSecond({settings.expires_after})"
        yield f" {ttl} ", f"MODIFY {ttl}"

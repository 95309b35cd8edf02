"""The existing archive, opened for a command, and its schema."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from stanzalake.config.settings import Settings
from stanzalake.errors import StoreUnavailable
from stanzalake.store import migrations
from stanzalake.store.client import Store
from stanzalake.store.migrations import Target
from stanzalake.store.partitions import Partitions
from stanzalake.store.table_copy import Report

_SMALL = 1 << 30
"""Bytes on disk that are copied within a minute or so."""


@contextmanager
def open_archive(settings: Settings, *, admin: bool = False) -> Iterator[Store]:
    """Open an existing store for a command, even beside a running `stanzalake up`.

    Args:
        settings: All settings.
        admin: Whether the command alters tables.

    Raises:
        StoreUnavailable: No answer, or there is no embedded store yet.
        SchemaBehind: Migrations of this version are pending.
    """
    if settings.store_dir is not None and not settings.store_dir.is_dir():
        raise StoreUnavailable(
            f"there is no store {settings.store_dir}: STANZALAKE_DATA_DIR says where it is"
        )
    with closing((Store.for_admin if admin else Store.of)(settings)) as store:
        migrations.check(store)
        yield store


def pending(settings: Settings) -> list[str]:
    """Return the names of pending migrations, and the changes that settings need."""
    if settings.store_dir is not None and not settings.store_dir.is_dir():
        return [migration.name for migration in migrations.all_migrations()]
    with closing(Store.for_admin(settings)) as store:
        return migrations.pending(store, settings) + _few_to_move(store, settings)


def migrate(settings: Settings) -> list[str]:
    """Apply pending migrations, and return their names.

    Partitions other than those of the settings are changed if the messages are few.
    """
    with closing(Store.for_admin(settings)) as store:
        applied = migrations.apply(store, settings)
        if changes := _few_to_move(store, settings):
            Partitions(store, Target.of(store, settings)).change()
        return applied + changes


def _few_to_move(store: Store, settings: Settings) -> list[str]:
    """Name a change of the partitions that is due and takes a minute at most."""
    is_due = Partitions(store, Target.of(store, settings)).is_due()
    is_small = is_due and store.size() <= _SMALL
    return [f"partitions by {settings.partition_by}"] if is_small else []


def repartition(settings: Settings, report: Report) -> bool:
    """Change the partitions of the messages table to those of the settings, if they differ.

    Args:
        settings: All settings.
        report: Called with the number of rows copied, and that of all.

    Returns:
        Whether they differed.

    Raises:
        SchemaBehind: Migrations of this version are pending.
        StoreUnavailable: No answer; what is copied stays copied for the next attempt.
    """
    with open_archive(settings, admin=True) as store:
        partitions = Partitions(store, Target.of(store, settings))
        is_due = partitions.is_due()
        if is_due:
            partitions.change(report)
        return is_due

"""The existing archive, opened for a command, and its schema."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from stanzalake.config.settings import Settings
from stanzalake.errors import StoreUnavailable
from stanzalake.store import migrations
from stanzalake.store.client import Store


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
        return migrations.pending(store, settings)


def migrate(settings: Settings) -> list[str]:
    """Apply pending migrations, and return their names."""
    with closing(Store.for_admin(settings)) as store:
        return migrations.apply(store, settings)

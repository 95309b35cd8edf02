"""The table of messages that the repository's tests share, on the engine in the process."""

from collections.abc import Iterator

import pytest

from archive import migrations, settings
from archive.store import Store

TABLE = "repository"


@pytest.fixture(scope="session")
def messages() -> Iterator[Store]:
    """Give a migrated table. Its parts are never merged: a repeated row stays repeated."""
    store = Store("chdb://:memory:", TABLE)
    migrations.apply(
        store,
        settings.load(
            {
                "STANZALAKE_HOSTS": "capulet.lit",
                "STANZALAKE_COMPONENT_SECRET": "wherefore",
                "STANZALAKE_ID_KEYS": "a-key-for-tests-of-32-characters",
                "PROSODY_ARCHIVE_EXPIRES_AFTER": "never",
                "PROSODY_ARCHIVE_STORE": TABLE,
            }
        ),
    )
    store.command(f"SYSTEM STOP MERGES {TABLE}")
    yield store
    store.close()

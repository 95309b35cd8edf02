"""Stores with a table of their own, in an engine or a server that tests share."""

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from stanzalake.store import migrations
from stanzalake.store.client import Store
from tests.support.settings import load

ON_BOTH_STORES = pytest.mark.parametrize(
    "dsn", ["embedded", "http"], indirect=True, scope="session"
)
"""Mark of the contract tests that run in the process and over HTTP each time."""

_numbers = itertools.count()


def empty_store(dsn: str) -> Store:
    """Open a store whose tables are not there yet."""
    return Store(dsn, f"archive_{next(_numbers)}")


@contextmanager
def migrated_store(
    dsn: str, *, merges: bool = True, expires_after: str = "never", partition_by: str = "year"
) -> Iterator[Store]:
    """Give a migrated store.

    Args:
        dsn: Of the engine or server.
        merges: Whether parts are merged; duplicates stay if not.
        expires_after: The retention.
        partition_by: What messages are partitioned by.
    """
    with closing(empty_store(dsn)) as store:
        settings = load(
            PROSODY_ARCHIVE_EXPIRES_AFTER=expires_after, STANZALAKE_PARTITION_BY=partition_by
        )
        migrations.apply(store, settings)
        if not merges:
            store.command(f"SYSTEM STOP MERGES {store.table}")
        yield store

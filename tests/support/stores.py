"""Stores with a table of their own, in an engine or a server that tests share."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from typing import Any

import pytest

from stanzalake.store import migrations
from stanzalake.store.client import Store
from tests.support import schemas
from tests.support.settings import load

ON_BOTH_STORES = pytest.mark.parametrize(
    "dsn", ["embedded", "http"], indirect=True, scope="session"
)
"""Mark of the contract tests that run in the process and over HTTP each time."""

_numbers = itertools.count()


class CountingStore(Store):
    """A store that counts its SELECT statements.

    Attributes:
        selects: Their number.
    """

    selects = 0

    def select(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[Sequence[Any]]:
        """Count a statement, and run it."""
        self.selects += 1
        return super().select(statement, parameters)


def empty_store(dsn: str) -> Store:
    """Open a store whose tables are not there yet."""
    return Store(dsn, f"archive_{next(_numbers)}")


@contextmanager
def migrated_store(
    dsn: str, *, merges: bool = True, expires_after: str = "never", partition_by: str = "year"
) -> Iterator[Store]:
    """Give a store like one that the migrations made: a copy, which takes a quarter of the time.

    Args:
        dsn: Of the engine or server.
        merges: Whether parts are merged; duplicates stay if not.
        expires_after: The retention.
        partition_by: What messages are partitioned by.
    """
    with closing(empty_store(dsn)) as store:
        schemas.restore(store, _template(dsn, expires_after, partition_by))
        if not merges:
            store.command(f"SYSTEM STOP MERGES {store.table}")
        yield store


@cache
def _template(dsn: str, expires_after: str, partition_by: str) -> Sequence[str]:
    """Return the statements that make what the migrations make."""
    settings = load(
        PROSODY_ARCHIVE_EXPIRES_AFTER=expires_after, STANZALAKE_PARTITION_BY=partition_by
    )
    with closing(empty_store(dsn)) as store:
        migrations.apply(store, settings)
        return [*schemas.creation(store), *schemas.rows(store)]

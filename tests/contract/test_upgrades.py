"""Stores of former versions: migrated, killed in the middle, beside older services, and back."""

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from typing import Any

import pytest

from stanzalake.errors import SchemaBehind, StoreUnavailable
from stanzalake.model.event import Erasure, Preferences
from stanzalake.model.page import Selection
from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import FOREVER
from stanzalake.store import migrations
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Store
from stanzalake.store.messages import MessageRange, Messages
from tests.support import schemas
from tests.support.archives import SEALER, START
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.schemas import FORMER, FROZEN, LAST
from tests.support.settings import load
from tests.support.stores import empty_store, migrated_store

DSN = "chdb://:memory:"
NURSE = "nurse@capulet.lit"
SETTINGS = load(PROSODY_ARCHIVE_EXPIRES_AFTER="never")
SHOWN = ["kept", "imported"]
"""Bodies of Juliet's archive after what `write` has written."""


def at(second: int) -> int:
    return from_milliseconds(START + 1000 * second)


def write(store: Store, number: int, first: int = 0) -> None:
    """Write what the services of a version wrote: columns that came later are not named.

    Args:
        store: The store.
        number: Of the version's last migration.
        first: Second of the first message.
    """
    messages = [("erased", ""), ("kept", ""), ("kept", ""), ("imported", "old-id")]
    seconds = (0, 1, 1, 2)
    for second, (body, legacy_id) in zip(seconds, messages, strict=True):
        _insert(
            store,
            "",
            owner=JULIET,
            position=at(first + second),
            peer=ROMEO,
            peer_resource="orchard",
            direction="in",
            kind="chat",
            stanza=stanza(body),
            legacy_id=legacy_id,
            **({"occupant": ""} if number >= 9 else {}),
        )
    end = at(first + 1)
    if number >= 8:
        _insert(store, "_changes", owner=JULIET, **({"begins": True} if number >= 10 else {}))
    erasure = {"position": at(first + 3), "peer": "", "low": 0, "high": end, "account": False}
    _insert(store, "_erasures", owner=JULIET, asked_by="tests", **erasure)
    lists = {"always": [ROMEO], "never": [NURSE]}
    _insert(store, "_preferences", owner=JULIET, position=at(first + 4), policy="roster", **lists)


def _insert(store: Store, suffix: str, **columns: object) -> None:
    names = ", ".join(columns)
    values = ", ".join(f"{{{name}:{_type(value)}}}" for name, value in columns.items())
    store.command(f"INSERT INTO {store.table}{suffix} ({names}) VALUES ({values})", columns)


def _type(value: object) -> str:
    types = {str: "String", bool: "Bool", int: "UInt64", list: "Array(String)"}
    return types[type(value)]


async def bodies(store: Store) -> list[str]:
    reader = ArchiveReader(store, SEALER, FOREVER)
    page = await reader.archive(JULIET).read(Selection(), 100)
    await reader.close()
    exported = [row.stanza for row in Messages(store).read(MessageRange(JULIET))]
    assert [item.stanza for item in page.items] == exported
    return [text.partition("<body>")[2].partition("<")[0] for text in exported]


async def states(store: Store) -> list[type]:
    reader = ArchiveReader(store, SEALER, FOREVER)
    history = await reader.archive(JULIET).history()
    await reader.close()
    return [type(state) for state in history]


def counted(store: Store) -> int:
    [(messages,)] = store.select(f"SELECT sum(messages) FROM {store.table}_daily")
    return int(messages)


def is_killed(store: Store, done: set[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Migrate until the first statement that was never done before; return whether there is one."""
    command = store.command

    def do(statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        command(statement, parameters)
        if (text := f"{statement} {parameters}") not in done:
            done.add(text)
            raise StoreUnavailable("killed")

    with monkeypatch.context() as patched:
        patched.setattr(store, "command", do)
        with suppress(StoreUnavailable):
            migrations.apply(store, SETTINGS)
            return False
    return True


@pytest.fixture(
    params=[*(pytest.param(n, marks=pytest.mark.slow) for n in FORMER[:-1]), FORMER[-1]]
)
def former(request: pytest.FixtureRequest) -> Iterator[tuple[Store, int]]:
    """Give a store as a former version made it and wrote to it, and its last migration."""
    with closing(empty_store(DSN)) as store:
        schemas.restore(store, schemas.statements(request.param))
        write(store, number := schemas.number(request.param))
        yield store, number


async def test_a_migration_of_a_former_store_killed_behind_each_statement_goes_on(
    former: tuple[Store, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, number = former
    done: set[str] = set()
    while is_killed(store, done, monkeypatch):
        if len(done) % 10 == 0:
            # The processor of the former version goes on beside it.
            write(store, number)
    # Partitions stay as they were: stanzalake repartition changes them.
    with migrated_store(DSN, partition_by="month") as fresh:
        assert schemas.definitions(store) == schemas.definitions(fresh)
    assert await bodies(store) == SHOWN
    assert await states(store) == [Erasure, Preferences]
    assert counted(store) == len(SHOWN)


async def test_services_of_a_former_version_work_beside_the_new_and_again_after_them(
    former: tuple[Store, int],
) -> None:
    store, number = former
    with pytest.raises(SchemaBehind, match=rf"lacks {number + 1:03d} .*: run stanzalake migrate"):
        migrations.check(store)
    migrations.apply(store, SETTINGS)
    assert await bodies(store) == SHOWN
    write(store, number, first=10)
    assert await bodies(store) == SHOWN
    assert counted(store) == len(SHOWN)
    # The later erasure covers all that the former one does.
    assert await states(store) == [Preferences, Erasure, Preferences]
    # What the former version checks before it starts.
    applied = {n for (n,) in store.select(f"SELECT number FROM {store.table}_migrations")}
    assert applied.issuperset(range(1, number + 1))
    assert migrations.apply(store, SETTINGS) == []


def test_a_view_that_a_former_version_has_made_again_is_replaced(
    former: tuple[Store, int],
) -> None:
    store, number = former
    [name] = [name for name in FORMER if schemas.number(name) == number]
    migrations.apply(store, SETTINGS)
    expected = schemas.definitions(store)
    assert migrations.pending_changes(store, SETTINGS) == []
    [view] = schemas.statements(name, "CREATE VIEW {table}_bodies")
    store.command(view.replace("CREATE", "CREATE OR REPLACE", 1).replace("{table}", store.table))
    assert migrations.pending_changes(store, SETTINGS) == ["a new view of bodies"]
    migrations.apply(store, SETTINGS)
    assert schemas.definitions(store) == expected


@pytest.mark.parametrize("name", [name for name in FROZEN if schemas.number(name) == LAST] or [""])
def test_no_migration_was_edited_since_its_release(name: str) -> None:
    """Until there is a later migration, which upgrades from the release are tested with."""
    with migrated_store(DSN, partition_by="year") as fresh, closing(empty_store(DSN)) as store:
        schemas.restore(store, schemas.statements(name) if name else schemas.freeze(fresh))
        assert schemas.definitions(store) == schemas.definitions(fresh)

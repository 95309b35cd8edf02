"""Schemas as former versions made them: NUMBER of the last migration, and -VERSION of a release.

`python -m tests.support.schemas` adds the present one, which is to be done at each release.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

from stanzalake.store import migrations
from stanzalake.store.client import Store
from stanzalake.store.statement import literal
from tests.support.releases import VERSION
from tests.support.settings import load

DIRECTORY = Path(__file__).parent / "former_schemas"
FROZEN = sorted(path.stem for path in DIRECTORY.glob("*.sql"))
"""Names of the schemas: 004, or 027-0.1.0."""

_SEPARATOR = ";\n\n"
_RANKS = {"View": 1, "MaterializedView": 2}


def number(name: str) -> int:
    """Return the number of the last migration of a frozen schema."""
    return int(name.partition("-")[0])


def version(name: str) -> str:
    """Return the version whose schema was frozen; empty for one before the first release."""
    return name.partition("-")[2]


LAST = max(migration.number for migration in migrations.all_migrations())
FORMER = [name for name in FROZEN if number(name) < LAST]
"""Names of the schemas from which there is something to migrate."""


def statements(name: str, prefix: str = "") -> list[str]:
    """Return the statements of a frozen schema that begin so."""
    text = (DIRECTORY / f"{name}.sql").read_text()
    return [statement for statement in text.split(_SEPARATOR) if statement.startswith(prefix)]


def restore(store: Store, statements: Iterable[str]) -> None:
    """Run the statements of a schema in an empty store."""
    for statement in statements:
        store.command(statement.replace("{table}", store.table))


def definitions(store: Store) -> dict[str, tuple[str, str]]:
    """Return the engine and the CREATE statement of each table and view, by its suffix.

    The name of the messages table is written {table}.
    """
    rows = store.select(
        "SELECT substring(name, length({messages:String}) + 1), engine, create_table_query"
        " FROM system.tables WHERE database = currentDatabase()"
        " AND (name = {messages:String} OR startsWith(name, {messages:String} || '_'))"
    )
    name = re.compile(rf"(`?default`?\.)?\b{store.table}(?=_[a-z]|\b)")
    return {suffix: (engine, name.sub("{table}", text)) for suffix, engine, text in rows}


def creation(store: Store) -> Iterator[str]:
    """Yield the statements that create the tables and views of a store."""
    found = definitions(store)
    for suffix in sorted(found, key=lambda each: (_RANKS.get(found[each][0], 0), each)):
        yield found[suffix][1]


def rows(store: Store) -> Iterator[str]:
    """Yield the statements that insert the rows of all tables of a store."""
    for suffix, (engine, _) in definitions(store).items():
        if engine not in _RANKS and (values := _values(store, suffix)):
            yield f"INSERT INTO {{table}}{suffix} VALUES {values}"


def freeze(store: Store) -> Iterator[str]:
    """Yield the statements that make the schema of a store, for a file."""
    yield from creation(store)
    found = store.select(
        "SELECT number, name, version FROM {migrations:Identifier} ORDER BY number"
    )
    values = ", ".join(f"({number}, {literal(name)}, {literal(v)})" for number, name, v in found)
    yield f"INSERT INTO {{table}}_migrations (number, name, version) VALUES {values}"
    yield "INSERT INTO {table}_secret (key) VALUES ((1, 2))"


def _values(store: Store, suffix: str) -> str:
    file = BytesIO()
    store.download(f"SELECT * FROM {store.table}{suffix}", {}, "Values", file)
    return file.getvalue().decode()


def main() -> None:
    """Write the present schema to its file."""
    with closing(Store("chdb://:memory:", "messages")) as store:
        migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
        [(last,)] = store.select("SELECT max(number) FROM {migrations:Identifier}")
        file = DIRECTORY / f"{last:03d}-{VERSION}.sql"
        file.write_text(_SEPARATOR.join(freeze(store)) + "\n")


if __name__ == "__main__":
    main()

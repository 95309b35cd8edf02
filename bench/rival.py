"""mod_mam with its SQL archive, filled with the same messages."""

import sqlite3
import uuid
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

import psycopg

from bench import accounts
from bench.corpus import HOST
from bench.questions import Question, ask
from devstack.ports import free_port
from devstack.postgres import Postgres
from devstack.prosody import Prosody
from devstack.raw import RawSession
from stanzalake.model.page import Selection
from stanzalake.model.position import to_milliseconds
from stanzalake.store.client import Row

_ARCHIVE = 'storage = {{ archive = "sql" }}\n{sql}\n'
_POLICY = """default_archive_policy = true
archive_expires_after = "never"
max_archive_query_results = 250
"""
_COLUMNS = ("host", "user", "store", "when", "with", "key", "type", "value")


class Rival:
    """A Prosody with mod_mam.

    Args:
        directory: Directory of its Prosody.
        sql: Lines of its configuration that name the database.

    Attributes:
        prosody: The server.
    """

    name: str
    """Name in tables."""

    def __init__(self, directory: Path, sql: str) -> None:
        self.prosody = Prosody(
            directory=directory,
            host=HOST,
            client_port=free_port(),
            component_port=free_port(),
            modules=("mam",),
            extra_global=_POLICY,
            extra_host=accounts.PLAIN + _ARCHIVE.format(sql=sql),
            query=(),
        )

    async def prepare(self, users: Sequence[str]) -> None:
        """Create accounts, whose passwords are their names, and let mod_mam create its tables."""
        self.prosody.write_config()
        accounts.register(self.prosody, users)
        await self.prosody.start()
        # It makes them at the first question.
        session = RawSession(users[0], users[0], HOST, self.prosody.client_port)
        await session.open()
        await ask(session, Question("", Selection(), backward=True).markup(str))
        await session.close()

    async def stop(self) -> None:
        """Stop the server."""
        await self.prosody.stop()

    @abstractmethod
    def fill(self, rows: Iterable[Row]) -> None:
        """Write rows as mod_mam does, after `prepare`."""

    @abstractmethod
    def size(self) -> int:
        """Return the bytes of table and indexes."""


class OnPostgres(Rival):
    """mod_mam on PostgreSQL.

    Args:
        directory: Prosody's directory.
    """

    name = "mod_mam, PostgreSQL"

    def __init__(self, directory: Path) -> None:
        self._server = Postgres()
        super().__init__(directory, self._server.prosody)

    @property
    def pid(self) -> int:
        """The database's first process."""
        return self._server.pid

    async def prepare(self, users: Sequence[str]) -> None:
        """Start the database as well."""
        await self._server.start()
        await super().prepare(users)

    async def stop(self) -> None:
        """Stop the database as well."""
        await super().stop()
        await self._server.stop()

    def fill(self, rows: Iterable[Row]) -> None:
        """Write rows by COPY, and let the database gather its statistics."""
        names = ", ".join(f'"{column}"' for column in _COLUMNS)
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            with connection.cursor().copy(f"COPY prosodyarchive ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(_item(row))
            connection.execute("VACUUM ANALYZE prosodyarchive")

    def size(self) -> int:
        """Return the bytes of table and indexes."""
        with psycopg.connect(self._server.url) as connection:
            found = connection.execute("SELECT pg_total_relation_size('prosodyarchive')")
            [[size]] = found.fetchall()
        return int(size)


class OnSQLite(Rival):
    """mod_mam on SQLite.

    Args:
        directory: Prosody's directory.
    """

    name = "mod_mam, SQLite"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, 'sql = { driver = "SQLite3", database = "archive.sqlite" }')

    @property
    def _file(self) -> Path:
        return self.prosody.data_path / "archive.sqlite"

    def fill(self, rows: Iterable[Row]) -> None:
        """Write rows in a single transaction."""
        names = ", ".join(f'"{column}"' for column in _COLUMNS)
        marks = ", ".join("?" for _ in _COLUMNS)
        with sqlite3.connect(self._file) as connection:
            connection.executemany(
                f"INSERT INTO prosodyarchive ({names}) VALUES ({marks})",  # noqa: S608  # names of columns
                map(_item, rows),
            )

    def size(self) -> int:
        """Return the bytes of the file."""
        return self._file.stat().st_size


def key(position: int) -> str:
    """Return the id of the message at a position: a UUID, as mod_mam's are."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(position)))


def _item(row: Row) -> Sequence[str | int]:
    user = row.owner.partition("@")[0]
    when = to_milliseconds(row.position) // 1000
    return HOST, user, "archive", when, row.peer, key(row.position), "xml", row.stanza

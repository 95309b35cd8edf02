"""Prosody's SQL storage (mod_storage_sql): archives and their preferences, from any of its engines.

Only short reads, each in a transaction of its own: Prosody may go on archiving meanwhile.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from stanzalake.errors import SourceUnavailable
from stanzalake.importer.source import Archived, Foreign, Form, Item, Selection, Unreadable, Wished
from stanzalake.model.event import MAX_STANZA, DefaultChoice

_PAGE: Final = 500
_DRIVERS: Final = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_FORMS: Final[Mapping[str, Form]] = {"xml": "xml", "json": "json"}
_DEFAULTS: Final[Mapping[object, DefaultChoice]] = {
    True: "always",
    False: "never",
    "roster": "roster",
    # mod_mam archives nothing of a user whose preferences name no default.
    None: "never",
}

# https://www.sqlite.org/fileformat2.html#file_format_version_numbers
_SQLITE_HEADER: Final = 19
_SQLITE_WRITES: Final = 18
_SQLITE_WAL: Final = b"\2"

_ARCHIVE = sql.table(
    "prosodyarchive",
    *(sql.column(name) for name in ("sort_id", "host", "user", "store")),
    *(sql.column(name) for name in ("key", "when", "with", "type", "value")),
).c
_DATA = sql.table(
    "prosody", *(sql.column(name) for name in ("host", "user", "store", "key", "type", "value"))
).c


class _Part(NamedTuple):
    """One store of one user, and the number of its messages."""

    host: str
    user: str
    store: str
    messages: int

    @property
    def owner(self) -> str:
        return f"{self.user}@{self.host}"


class ProsodySql:
    """A database of Prosody's.

    Args:
        url: Where it is, as SQLAlchemy writes it; sqlite:///, postgresql:// or mysql://.
        selection: What of it is wanted.

    Raises:
        SourceUnavailable: There is no such database, or it does not answer.
    """

    def __init__(self, url: str, selection: Selection) -> None:
        self._selection = selection
        self._engine = _engine(url)
        self._done = 0
        self._parts = self._survey()

    def size(self) -> int:
        """Give the number of messages in the archives that are wanted."""
        return sum(part.messages for part in self._parts if self._wanted(part))

    def done(self) -> int:
        """Give the number of messages that were read, or left out by their time."""
        return self._done

    def items(self) -> Iterator[Item]:
        """Give what is not ours as a number, then preferences, then messages by their owner.

        Raises:
            SourceUnavailable: The database does not answer.
        """
        yield from self._foreign()
        yield from self._preferences()
        before = 0
        for part in self._parts:
            if self._wanted(part):
                yield from self._messages(part)
                before += part.messages
                self._done = before

    def _survey(self) -> Sequence[_Part]:
        who = (_ARCHIVE.host, _ARCHIVE.user, _ARCHIVE.store)
        found = [
            _Part(*row) for row in self._read(sql.select(*who, sql.func.count()).group_by(*who))
        ]
        return sorted(found, key=lambda part: (part.host, part.user, self._rank(part.store)))

    def _rank(self, store: str) -> int:
        stores = self._selection.stores
        return stores.index(store) if store in stores else len(stores)

    def _wanted(self, part: _Part) -> bool:
        return part.store in self._selection.stores and self._selection.wants(part.owner)

    def _foreign(self) -> Iterator[Foreign]:
        for part in self._parts:
            if part.store not in self._selection.stores:
                yield Foreign(f"store {part.store} of {part.host}", part.messages)
            elif part.host not in self._selection.hosts:
                yield Foreign(f"host {part.host}", part.messages)

    def _messages(self, part: _Part) -> Iterator[Item]:
        last = 0
        while rows := self._page(part, last):
            for row in rows:
                yield _message(part.owner, row)
            self._done += len(rows)
            last = rows[-1][0]

    def _page(self, part: _Part, last: int) -> Sequence[Sequence[Any]]:
        # What is too long is not read at all.
        value = sql.case((sql.func.length(_ARCHIVE.value) <= MAX_STANZA, _ARCHIVE.value))
        columns = (_ARCHIVE.sort_id, _ARCHIVE.key, _ARCHIVE.when, _ARCHIVE["with"])
        return self._read(
            sql.select(*columns, _ARCHIVE.type, value)
            .where(_ARCHIVE.host == part.host)
            .where(_ARCHIVE.user == part.user)
            .where(_ARCHIVE.store == part.store)
            .where(_ARCHIVE.sort_id > last)
            .where(_ARCHIVE.when >= self._selection.since // 1000)
            .order_by(_ARCHIVE.sort_id)
            .limit(_PAGE)
        )

    def _preferences(self) -> Iterator[Item]:
        stores = [f"{store}_prefs" for store in self._selection.stores]
        rows = self._read(
            sql.select(_DATA.host, _DATA.user, _DATA.store, _DATA.key, _DATA.type, _DATA.value)
            .where(_DATA.store.in_(stores))
            .where(_DATA.host.in_(sorted(self._selection.hosts)))
        )
        rows = sorted(rows, key=lambda row: (row[0], row[1], stores.index(row[2]), row[3]))
        for (host, user, store), entries in groupby(rows, key=lambda row: tuple(row[:3])):
            owner = f"{user}@{host}"
            if self._selection.wants(owner):
                yield _wished(owner, f"{store} of {owner}", [row[3:] for row in entries])

    def _read(self, statement: sql.Select[Any]) -> Sequence[Sequence[Any]]:
        with _translated(), self._engine.connect() as connection:
            return connection.execute(statement).all()


def _engine(url: str) -> sql.Engine:
    try:
        parsed = sql.make_url(url)
        parsed = parsed.set(drivername=_DRIVERS[parsed.get_backend_name()])
    except (ArgumentError, KeyError):
        raise SourceUnavailable(
            "a database is sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE, "
            "or mysql://USER:PASSWORD@HOST/DATABASE"
        ) from None
    if parsed.get_backend_name() == "sqlite":
        parsed = _existing(parsed)
    return sql.create_engine(parsed, pool_pre_ping=True)


def _existing(url: sql.URL) -> sql.URL:
    """Give the URL of a file that is there, and whose readers do not keep Prosody from writing.

    Where SQLite keeps no write-ahead log, Prosody fails to archive what comes during a read.
    """
    file = Path(url.database or "")
    try:
        with file.open("rb") as database:
            header = database.read(_SQLITE_HEADER)
    except OSError as error:
        raise SourceUnavailable(f"{file}: {error.strerror}") from None
    if header[_SQLITE_WRITES:] != _SQLITE_WAL:
        raise SourceUnavailable(
            f"{file} has no write-ahead log, so that reading it would keep Prosody from archiving: "
            f"run sqlite3 {file} 'PRAGMA journal_mode=WAL' first, once"
        )
    return url.set(database=file.absolute().as_uri(), query={"mode": "rw", "uri": "true"})


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the library's errors into ours, which quote no value."""
    try:
        yield
    except DBAPIError as error:
        said = str(error.orig).strip().splitlines() or [type(error).__name__]
        raise SourceUnavailable(f"the database does not answer: {said[0]}") from None
    except SQLAlchemyError as error:
        name = type(error).__name__
        raise SourceUnavailable(f"the database does not answer: {name}") from None


def _message(owner: str, row: Sequence[Any]) -> Item:
    sort_id, key, when, peer, kind, value = row
    place = f"prosodyarchive, sort_id {sort_id}"
    if value is None:
        return Unreadable(place, f"a stanza over the limit of {MAX_STANZA} characters")
    if kind not in _FORMS:
        return Unreadable(place, "its type is neither xml nor json")
    return Archived(owner, key, int(when * 1000), peer, _FORMS[kind], value, place)


def _wished(owner: str, place: str, entries: Sequence[Sequence[str]]) -> Item:
    """Read what mamprefs.lib.lua keeps: true or false for each JID, and the default for false."""
    try:
        rules = dict(pair for entry in entries for pair in _rules(*entry))
        default = _DEFAULTS[rules.pop(False, None)]
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, RecursionError):
        return Unreadable(place, "these are no preferences of mod_mam")
    always = tuple(sorted(jid for jid, rule in rules.items() if rule is True))
    never = tuple(sorted(jid for jid, rule in rules.items() if rule is False))
    return Wished(owner, default, always, never, place)


def _rules(key: str, kind: str, value: str) -> Iterator[tuple[Any, Any]]:
    if key:
        yield key, _VALUES[kind](value)
        return
    held = msgspec.json.decode(value)
    # Lua's keys that are no strings are in a list of their own (util.json).
    pairs = held.pop("__hash", [])
    yield from zip(pairs[::2], pairs[1::2], strict=True)
    yield from held.items()


_VALUES: Final[Mapping[str, Callable[[str], Any]]] = {
    "boolean": msgspec.json.decode,
    "string": str,
}

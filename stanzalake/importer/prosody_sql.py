"""Prosody's SQL storage (mod_storage_sql): archives and preferences, on any database engine.

Reads in short transactions, so that Prosody can continue to archive.
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
from stanzalake.importer.source import (
    ArchivedMessage,
    ArchivedPreferences,
    Foreign,
    Form,
    Item,
    Selection,
    Unreadable,
)
from stanzalake.model.event import MAX_STANZA, DefaultChoice

_PAGE: Final = 500
_ROOMS: Final = "muc_log"
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
    # mod_mam archives nothing for a user whose preferences have no default.
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


class _UserStore(NamedTuple):
    """An archive store of a user."""

    host: str
    user: str
    store: str
    messages: int

    @property
    def owner(self) -> str:
        return f"{self.user}@{self.host}"


class ProsodySql:
    """A Prosody database as a source.

    Args:
        url: SQLAlchemy URL; sqlite:///, postgresql:// or mysql://.
        selection: The part to import.

    Raises:
        SourceUnavailable: No such database, or no answer.
    """

    def __init__(self, url: str, selection: Selection) -> None:
        self._selection = selection
        self._engine = _engine(url)
        self._done = 0
        self._stores = self._list_stores()

    def size(self) -> int:
        """Return the number of messages in the selected archives."""
        return sum(store.messages for store in self._stores if self._selects(store))

    def done(self) -> int:
        """Return the number of messages read or skipped."""
        return self._done

    def items(self) -> Iterator[Item]:
        """Yield counts of foreign items, then preferences, then messages by owner.

        Raises:
            SourceUnavailable: The database does not answer.
        """
        yield from self._foreign()
        yield from self._preferences()
        before = 0
        for store in self._stores:
            if self._selects(store):
                yield from self._messages(store)
                before += store.messages
                self._done = before

    def _list_stores(self) -> Sequence[_UserStore]:
        key = (_ARCHIVE.host, _ARCHIVE.user, _ARCHIVE.store)
        rows = self._read(sql.select(*key, sql.func.count()).group_by(*key))
        stores = [_UserStore(*row) for row in rows]
        return sorted(stores, key=lambda store: (store.host, store.user, self._rank(store.store)))

    def _rank(self, store: str) -> int:
        stores = self._selection.stores
        return stores.index(store) if store in stores else len(stores)

    def _selects(self, store: _UserStore) -> bool:
        return store.store in self._selection.stores and self._selection.includes(store.owner)

    def _foreign(self) -> Iterator[Foreign]:
        for store in self._stores:
            if store.store not in self._selection.stores:
                yield Foreign(f"store {store.store} of {store.host}", store.messages)
            elif store.host not in self._selection.hosts:
                yield Foreign(f"host {store.host}", store.messages)

    def _messages(self, store: _UserStore) -> Iterator[Item]:
        last = 0
        while rows := self._page(store, last):
            for row in rows:
                yield _message(store.store, store.owner, row)
            self._done += len(rows)
            last = rows[-1][0]

    def _page(self, store: _UserStore, last: int) -> Sequence[Sequence[Any]]:
        # Over-long values are not transferred.
        value = sql.case((sql.func.length(_ARCHIVE.value) <= MAX_STANZA, _ARCHIVE.value))
        columns = (_ARCHIVE.sort_id, _ARCHIVE.key, _ARCHIVE.when, _ARCHIVE["with"])
        return self._read(
            sql.select(*columns, _ARCHIVE.type, value)
            .where(_ARCHIVE.host == store.host)
            .where(_ARCHIVE.user == store.user)
            .where(_ARCHIVE.store == store.store)
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
            if self._selection.includes(owner):
                place = f"{store} of {owner}"
                yield _read_preferences(owner, place, [row[3:] for row in entries])

    def _read(self, statement: sql.Select[Any]) -> Sequence[Sequence[Any]]:
        with _translate_errors(), self._engine.connect() as connection:
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
        parsed = _require_wal(parsed)
    return sql.create_engine(parsed, pool_pre_ping=True)


def _require_wal(url: sql.URL) -> sql.URL:
    """Require a write-ahead log, without which our reads would make Prosody's writes fail."""
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
def _translate_errors() -> Iterator[None]:
    """Translate SQLAlchemy's errors to ours, which never quote values."""
    try:
        yield
    except DBAPIError as error:
        lines = str(error.orig).strip().splitlines() or [type(error).__name__]
        raise SourceUnavailable(f"the database does not answer: {lines[0]}") from None
    except SQLAlchemyError as error:
        name = type(error).__name__
        raise SourceUnavailable(f"the database does not answer: {name}") from None


def _message(store: str, owner: str, row: Sequence[Any]) -> Item:
    sort_id, key, when, peer, kind, value = row
    place = f"prosodyarchive, sort_id {sort_id}"
    if value is None:
        return Unreadable(place, f"a stanza over the limit of {MAX_STANZA} characters")
    if store == _ROOMS:
        peer = ""  # mod_muc_mam keeps the stanza's kind and type in place of the other party
    if kind not in _FORMS:
        return Unreadable(place, "its type is neither xml nor json")
    return ArchivedMessage(owner, key, int(when * 1000), peer, _FORMS[kind], value, place)


def _read_preferences(owner: str, place: str, entries: Sequence[Sequence[str]]) -> Item:
    """Read the map of mamprefs.lib.lua: JID to true or false, and false to the default."""
    try:
        rules = dict(pair for entry in entries for pair in _rules(*entry))
        default = _DEFAULTS[rules.pop(False, None)]
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, RecursionError):
        return Unreadable(place, "these are no preferences of mod_mam")
    always = tuple(sorted(jid for jid, rule in rules.items() if rule is True))
    never = tuple(sorted(jid for jid, rule in rules.items() if rule is False))
    return ArchivedPreferences(owner, default, always, never, place)


def _rules(key: str, kind: str, value: str) -> Iterator[tuple[Any, Any]]:
    if key:
        yield key, _VALUES[kind](value)
        return
    rules = msgspec.json.decode(value)
    # util.json keeps Lua keys that are not strings in a separate list.
    pairs = rules.pop("__hash", [])
    yield from zip(pairs[::2], pairs[1::2], strict=True)
    yield from rules.items()


_VALUES: Final[Mapping[str, Callable[[str], Any]]] = {
    "boolean": msgspec.json.decode,
    "string": str,
}

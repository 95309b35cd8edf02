"""The importer, on every kind of store: what it writes, leaves out, and does again."""

import itertools
from collections.abc import Iterable, Sequence
from functools import partial

import pytest

from stanzalake.importer import importer
from stanzalake.importer.importer import Importer, Summary
from stanzalake.importer.positions import UPPER_HALF
from stanzalake.importer.source import (
    ArchivedMessage,
    ArchivedPreferences,
    Foreign,
    Item,
    Unreadable,
)
from stanzalake.model.event import VERSION, Erasure, OwnRetention, Preferences
from stanzalake.model.position import Sealer, from_milliseconds
from stanzalake.store.changes import Changes
from stanzalake.store.client import Row, Store
from stanzalake.store.erasures import Erasures
from stanzalake.store.histories import Histories
from stanzalake.store.own_retention import OwnRetentions
from tests.support import settings
from tests.support.archives import row
from tests.support.events import ROMEO, stanza
from tests.support.settings import KEY
from tests.support.sources import Given

SETTINGS = settings.load(STANZALAKE_BATCH_ROWS="3", PROSODY_ARCHIVE_EXPIRES_AFTER="1d")
NOW = 1_790_000_000_000
ACTIVE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"

_owners = (f"import-{n}@capulet.lit" for n in itertools.count())


@pytest.fixture
def owner() -> str:
    return next(_owners)


def archived(owner: str, number: int, at: int = NOW, body: str = "") -> ArchivedMessage:
    text = stanza(body or str(number))
    return ArchivedMessage(owner, f"old-{number}", at, ROMEO, "xml", text, f"line {number}")


def load(
    store: Store, items: Sequence[Item], *, stop: bool = False, dry_run: bool = False
) -> tuple[Summary, list[Unreadable]]:
    told: list[Unreadable] = []
    one = Importer(store, SETTINGS, told.append, dry_run=dry_run, clock=lambda: NOW / 1000)
    batches = itertools.count()
    one.run(Given(items), lambda: stop and next(batches) > 0)
    return one.summary, told


def stored(store: Store, owner: str) -> list[tuple[int, str, str]]:
    rows: Iterable[Sequence[object]] = store.select(
        f"SELECT DISTINCT position, legacy_id, extract(stanza, '<body>(.*)</body>') "
        f"FROM {store.table} WHERE owner = {{owner:String}} ORDER BY position",
        {"owner": owner},
    )
    return [(int(str(p)), str(i), str(b)) for p, i, b in rows]


def bodies(store: Store, owner: str) -> list[str]:
    return [body for _, _, body in stored(store, owner)]


def test_an_interrupted_import_continues_and_later_messages_follow(
    messages: Store, owner: str
) -> None:
    items = [archived(owner, n) for n in range(8)]
    stopped, _ = load(messages, items, stop=True)
    assert (stopped.imported, stopped.complete) == (3, False)
    messages.insert([row(from_milliseconds(NOW, n), owner=owner) for n in range(2)])
    again, _ = load(messages, items)
    assert (again.imported, again.present, again.complete) == (5, 3, True)
    tail, _ = load(messages, [*items[2:], archived(owner, 8)])
    assert (tail.imported, tail.present) == (1, 6)
    found = stored(messages, owner)
    assert [legacy_id for _, legacy_id, _ in found][2:] == [f"old-{n}" for n in range(9)]
    assert [position for position, _, _ in found][2:] == [
        from_milliseconds(NOW, UPPER_HALF + n) for n in range(9)
    ]


def test_messages_are_imported_in_batches_of_bounded_size(
    messages: Store, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [archived(owner, n) for n in range(3)]
    monkeypatch.setattr(importer, "_BATCH_CHARACTERS", 1 + len(items[0].stanza))
    assert load(messages, items, stop=True)[0].imported == 2


def test_an_import_announces_whose_archives_it_changes(messages: Store, owner: str) -> None:
    """The copies that services have of them are of before."""
    _, before = Changes(messages).since(0)
    load(messages, [archived(owner, 1)])
    found = Changes(messages).since(before)[0]
    assert sorted(change.begins for change in found if change.owner == owner) == [False, True]


def test_an_import_is_complete_once_its_last_source_is(messages: Store, owner: str) -> None:
    one = Importer(messages, SETTINGS, lambda _: None, clock=lambda: NOW / 1000)
    for number, stop in enumerate((False, True)):
        one.run(Given([archived(owner, number)]), partial(bool, stop))
        assert one.summary.complete is not stop
    assert one.summary.imported == 1, "stopped between two sources"


def test_a_dry_run_counts_and_writes_nothing(messages: Store, owner: str) -> None:
    wished = ArchivedPreferences(owner, "never", (), (), "line 1")
    would, _ = load(messages, [wished, archived(owner, 1), archived(owner, 1)], dry_run=True)
    assert (would.imported, would.present, would.preferences) == (1, 1, 1)
    assert stored(messages, owner) == []
    assert Histories(messages).read([owner])[owner] == ()


def test_skipped_messages_are_counted_by_reason(messages: Store, owner: str) -> None:
    day = 86_400_000
    empty = archived(owner, 5)._replace(stanza=f"<message from='{ROMEO}'>{ACTIVE}</message>")
    summary, told = load(
        messages,
        [
            archived(owner, 1, NOW - day - 1),
            archived(owner, 2, NOW - day),
            archived(owner, 3, NOW + 2 * day),
            archived(owner, 4, -1)._replace(at=-1),
            empty,
            archived(owner, 6)._replace(stanza="<message>"),
            archived(owner, 7)._replace(id=""),
            archived(owner, 8)._replace(id="x" * 256),
            archived("no owner", 9),
            ArchivedPreferences(owner, "never", ("a b@c",), (), "line 10"),
            Unreadable("line 11", "why not"),
            Foreign("host x", 2),
            Foreign("host x", 3),
            archived(owner, 12),
        ],
    )
    assert (summary.expired, summary.empty, summary.unreadable) == (2, 1, 7)
    assert summary.foreign == {"host x": 5}
    assert {one.place for one in told} == {f"line {n}" for n in (3, 6, 7, 8, 9, 10, 11)}
    assert bodies(messages, owner) == ["2", "12"]


def test_erased_messages_are_not_imported_again(messages: Store, owner: str) -> None:
    later = from_milliseconds(NOW + 1)
    erasure = Erasure(v=VERSION, owner=owner, position=later, end=later, account=True)
    Erasures(messages).write([erasure])
    wished = ArchivedPreferences(owner, "always", (), (), "line 1")
    summary, _ = load(messages, [wished, archived(owner, 1), archived(owner, 2, NOW + 2)])
    assert (summary.erased, summary.imported, summary.preferences) == (1, 1, 0)
    assert bodies(messages, owner) == ["2"]


def test_messages_that_their_owner_keeps_no_longer_are_not_imported(
    messages: Store, owner: str
) -> None:
    begun = OwnRetention(v=VERSION, owner=owner, position=from_milliseconds(NOW), seconds=60)
    ended = OwnRetention(v=VERSION, owner=owner, position=from_milliseconds(NOW + 1000), seconds=0)
    OwnRetentions(messages).write([begun, ended])
    summary, _ = load(messages, [archived(owner, n, NOW - 30_000 * n) for n in range(4)])
    assert (summary.imported, summary.expired) == (2, 2)
    assert bodies(messages, owner) == ["1", "0"]


def test_ids_of_this_archive_keep_their_positions(messages: Store, owner: str) -> None:
    position = from_milliseconds(NOW, 3)
    own = archived(owner, 1)._replace(id=Sealer([KEY]).seal(owner, position))
    other = archived(owner, 2)._replace(id=Sealer([KEY]).seal("somebody@capulet.lit", position))
    assert load(messages, [own, other])[0].imported == 2
    assert load(messages, [own, other])[0].present == 2
    assert [found[:2] for found in stored(messages, owner)] == [
        (position, ""),
        (from_milliseconds(NOW, UPPER_HALF), other.id),
    ]


def test_imported_preferences_precede_own_preferences(messages: Store, owner: str) -> None:
    said = Preferences(
        v=VERSION, owner=owner, position=NOW << 16, default="roster", always=(), never=()
    )
    Histories(messages).write([said])
    first = ArchivedPreferences(owner, "always", (), (ROMEO,), "line 1")
    for wished, number in ((first, 1), (first, 0), (first._replace(default="never"), 1)):
        assert load(messages, [wished])[0].preferences == number
    history = Histories(messages).read([owner])[owner]
    assert [(one.position, getattr(one, "default", "")) for one in history] == [
        (1, "always"),
        (2, "never"),
        (NOW << 16, "roster"),
    ]


def test_an_imported_row_equals_the_processors(messages: Store, owner: str) -> None:
    load(messages, [archived(owner, 1)._replace(stanza=stanza("hi", ACTIVE))])
    columns = ", ".join(Row._fields)
    [found] = messages.select(
        f"SELECT {columns} FROM {messages.table} WHERE owner = {{owner:String}}", {"owner": owner}
    )
    written = Row(*found)
    expected = row(written.position, owner=owner, legacy_id="old-1", stanza=written.stanza)
    assert written == expected
    assert "hi" in written.stanza
    assert "chatstates" not in written.stanza

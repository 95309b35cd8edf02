"""Planning and announcing an erasure, for `stanzalake delete`, on both engines."""

from collections.abc import Iterator

import pytest

from stanzalake.cli.delete import _describe
from stanzalake.errors import InvalidEvent
from stanzalake.model.position import MAX_POSITION, from_milliseconds
from stanzalake.model.retention import Retention
from stanzalake.operations.erasure import Eraser
from stanzalake.store.client import Row
from stanzalake.store.deletion import Deletion
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.settings import load
from tests.support.stores import migrated_store


@pytest.fixture
def eraser(dsn: str) -> Iterator[Eraser]:
    values = load(PROSODY_ARCHIVE_EXPIRES_AFTER="never")
    with migrated_store(dsn) as store:
        rows = [Row(JULIET, p, ROMEO, "", "in", "chat", stanza()) for p in (1, MAX_POSITION - 1)]
        store.insert(rows)
        yield Eraser(values, store)


def test_a_plan_covers_messages_of_any_time(eraser: Eraser) -> None:
    erasure = eraser.plan(JULIET, "", 0, None, "me")
    said = _describe(eraser.covered(erasure))
    assert said == "2 messages, 1970-01-01 to 10889-08-02,"


def test_presences_in_a_room_are_not_counted_as_messages(dsn: str) -> None:
    room = "hall@rooms.capulet.lit"
    at = from_milliseconds(1_790_000_000_000)
    kinds = ("groupchat", "presence", "presence", "groupchat", "presence")
    rows = [Row(room, at + n, room, "Romeo", "in", kind, "x") for n, kind in enumerate(kinds)]
    with migrated_store(dsn) as store:
        for _ in range(2):
            store.insert(rows)
        eraser = Eraser(load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"), store)
        covered = eraser.covered(eraser.plan(room, "", 0, None, "me"))
        assert covered == (2, at, at + 4, 3)
        assert _describe(covered) == "2 messages and 3 presences, 2026-09-21 to 2026-09-21,"
        expired = Deletion(store, retention=Retention(1)).expired(1_790_000_010)
        assert expired.describe("expired ") == "2 expired messages and 3 presences"


@pytest.mark.parametrize(
    ("peer", "start", "end", "covered"),
    [
        (ROMEO, 0, None, 2),
        ("nurse@capulet.lit", 0, None, 0),
        ("", 1, None, 1),
        ("", 0, 1, 1),
        (ROMEO, 1, 2, 0),
    ],
)
def test_a_plan_covers_a_peer_and_a_time(
    eraser: Eraser, peer: str, start: int, end: int | None, covered: int
) -> None:
    erasure = eraser.plan(JULIET, peer, start, end, "me")
    assert (erasure.owner, erasure.peer, erasure.by) == (JULIET, peer, "me")
    assert erasure.start == from_milliseconds(start)
    assert erasure.end == (erasure.position if end is None else from_milliseconds(end))
    assert eraser.covered(erasure).messages == covered


def test_an_event_that_no_processor_accepts_is_not_appended(eraser: Eraser) -> None:
    """Processors would reject it, and the command wait in vain."""
    with pytest.raises(InvalidEvent, match="255"):
        eraser.erase(eraser.plan(JULIET, "", 0, None, "x" * 256), 0)

"""Planning and announcing an erasure, for `stanzalake delete`, on both engines."""

from collections.abc import Iterator

import pytest

from stanzalake.cli.delete import _describe
from stanzalake.errors import InvalidEvent
from stanzalake.model.position import MAX_POSITION, from_milliseconds
from stanzalake.operations.erasure import Eraser
from stanzalake.store.client import Row
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

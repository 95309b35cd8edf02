"""Imported preferences are ordered before all that their owner sets here."""

import pytest

from stanzalake.errors import InvalidEvent
from stanzalake.importer import preferences
from stanzalake.importer.source import ArchivedPreferences
from stanzalake.model.event import MAX_JIDS, VERSION, Preferences
from tests.support.events import JULIET, ROMEO

IMPORTED = ArchivedPreferences(JULIET, "always", (), (ROMEO,), "line 1")
OWN = Preferences(
    v=VERSION, owner=JULIET, position=1790000000000 << 16, default="never", always=(), never=()
)


def to_event(archived: ArchivedPreferences) -> Preferences:
    refused: list[str] = []
    event = preferences.to_event(archived, refused.append)
    assert not refused
    return event


def test_imported_preferences_precede_those_set_here() -> None:
    first = to_event(IMPORTED)
    assert (first.position, first.default, first.never) == (1, "always", (ROMEO,))
    assert preferences.append([], first) == first
    assert preferences.append([OWN], first) == first


def test_a_repeated_import_adds_nothing_and_a_changed_one_follows() -> None:
    first = to_event(IMPORTED)
    assert preferences.append([first, OWN], first) is None
    other = to_event(IMPORTED._replace(default="roster"))
    second = preferences.append([first, OWN], other)
    assert second is not None
    assert (second.position, second.default) == (2, "roster")
    assert preferences.append([first, second, OWN], other) is None
    third = preferences.append([first, second, OWN], first)
    assert third is not None
    assert (third.position, third.default) == (3, "always")


def test_a_list_that_is_too_long_is_refused() -> None:
    entries = tuple(f"{n}@a" for n in range(MAX_JIDS + 1))
    with pytest.raises(InvalidEvent):
        to_event(IMPORTED._replace(never=entries))


def test_an_entry_that_is_not_a_jid_is_left_out_alone() -> None:
    refused: list[str] = []
    entries = ("Room@X/Romeo \N{ROSE}", "a b@c", "a@x.org.")
    event = preferences.to_event(IMPORTED._replace(always=entries), refused.append)
    assert event.always == ("room@x/Romeo \N{ROSE}", "a@x.org")
    [reason] = refused
    assert "a b@c" not in reason

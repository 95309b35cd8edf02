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


def test_imported_preferences_precede_those_set_here() -> None:
    first = preferences.to_event(IMPORTED)
    assert (first.position, first.default, first.never) == (1, "always", (ROMEO,))
    assert preferences.append([], first) == first
    assert preferences.append([OWN], first) == first


def test_a_repeated_import_adds_nothing_and_a_changed_one_follows() -> None:
    first = preferences.to_event(IMPORTED)
    assert preferences.append([first, OWN], first) is None
    other = preferences.to_event(IMPORTED._replace(default="roster"))
    second = preferences.append([first, OWN], other)
    assert second is not None
    assert (second.position, second.default) == (2, "roster")
    assert preferences.append([first, second, OWN], other) is None
    third = preferences.append([first, second, OWN], first)
    assert third is not None
    assert (third.position, third.default) == (3, "always")


@pytest.mark.parametrize("jids", [("a b@c",), tuple(f"{n}@a" for n in range(MAX_JIDS + 1))])
def test_lists_that_no_event_can_hold_are_refused(jids: tuple[str, ...]) -> None:
    with pytest.raises(InvalidEvent):
        preferences.to_event(IMPORTED._replace(never=jids))

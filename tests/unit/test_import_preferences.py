"""Preferences of another archive stand before all that their owner says to ours."""

import pytest

from stanzalake.errors import InvalidEvent
from stanzalake.importer import preferences
from stanzalake.importer.source import Wished
from stanzalake.model.event import MAX_JIDS, VERSION, Preferences
from tests.support.events import JULIET, ROMEO

WISHED = Wished(JULIET, "always", (), (ROMEO,), "line 1")
SAID = Preferences(
    v=VERSION, owner=JULIET, position=1790000000000 << 16, default="never", always=(), never=()
)


def test_the_first_is_the_first_of_all() -> None:
    first = preferences.read(WISHED)
    assert (first.position, first.default, first.never) == (1, "always", (ROMEO,))
    assert preferences.following([], first) == first
    assert preferences.following([SAID], first) == first


def test_the_same_again_is_nothing_and_another_comes_behind() -> None:
    first = preferences.read(WISHED)
    assert preferences.following([first, SAID], first) is None
    other = preferences.read(WISHED._replace(default="roster"))
    second = preferences.following([first, SAID], other)
    assert second is not None
    assert (second.position, second.default) == (2, "roster")
    assert preferences.following([first, second, SAID], other) is None
    third = preferences.following([first, second, SAID], first)
    assert third is not None
    assert (third.position, third.default) == (3, "always")


@pytest.mark.parametrize("jids", [("a b@c",), tuple(f"{n}@a" for n in range(MAX_JIDS + 1))])
def test_lists_that_no_event_can_hold_are_refused(jids: tuple[str, ...]) -> None:
    with pytest.raises(InvalidEvent):
        preferences.read(WISHED._replace(never=jids))

"""Announced changes, as readers with copies find them."""

import pytest

from stanzalake.store.changes import EVERYBODY, Change, Changes
from stanzalake.store.client import Store
from tests.support.stores import ON_BOTH_STORES

pytestmark = ON_BOTH_STORES

JULIET, ROMEO = "juliet@changes.lit", "romeo@changes.lit"


@pytest.fixture
def changes(messages: Store) -> Changes:
    return Changes(messages)


def owners(found: list[Change]) -> set[str]:
    return {change.owner for change in found}


def test_an_announced_change_is_found_from_its_moment_on(changes: Changes) -> None:
    _, before = changes.since(0)
    with changes.announce({JULIET, ROMEO}):
        found, _ = changes.since(before)
        assert {(c.owner, c.begins) for c in found} == {(JULIET, True), (ROMEO, True)}
    found, now = changes.since(before)
    assert sorted((c.owner, c.begins) for c in found) == [
        (JULIET, False),
        (JULIET, True),
        (ROMEO, False),
        (ROMEO, True),
    ]
    assert all(before <= change.at <= now for change in found)
    assert not owners(list(changes.since(now + 1)[0])) & {JULIET, ROMEO}


def test_nothing_is_announced_for_nobody(changes: Changes) -> None:
    _, before = changes.since(0)
    with changes.announce(()):
        pass
    assert JULIET not in owners(list(changes.since(before)[0]))


def test_a_change_that_failed_stays_open(changes: Changes) -> None:
    _, before = changes.since(0)
    with pytest.raises(RuntimeError), changes.announce({JULIET}):
        raise RuntimeError("killed")
    assert [c.begins for c in changes.since(before)[0] if c.owner == JULIET] == [True]


def test_an_expiry_is_announced_with_its_horizon(changes: Changes) -> None:
    _, before = changes.since(0)
    changes.begin_expiry(7)
    changes.end_expiry(7)
    found = [c for c in changes.since(before)[0] if c.owner == EVERYBODY]
    assert {(c.begins, c.horizon) for c in found} == {(True, 7), (False, 7)}

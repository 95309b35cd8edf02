"""Announced changes, as readers with copies find them."""

import pytest

from stanzalake.store.changes import Change, Changes
from stanzalake.store.client import Store

JULIET, ROMEO = "juliet@changes.lit", "romeo@changes.lit"


@pytest.fixture
def changes(messages: Store) -> Changes:
    return Changes(messages)


def owners(found: list[Change]) -> set[str]:
    return {change.owner for change in found}


def test_an_announced_change_is_found_from_its_moment_on(changes: Changes) -> None:
    _, before = changes.since(0)
    changes.announce({JULIET, ROMEO})
    found, now = changes.since(before)
    assert owners(list(found)) >= {JULIET, ROMEO}
    assert all(before <= change.at <= now for change in found)
    assert not owners(list(changes.since(now + 1)[0])) & {JULIET, ROMEO}


def test_nothing_is_announced_for_nobody(changes: Changes) -> None:
    _, before = changes.since(0)
    changes.announce(())
    assert JULIET not in owners(list(changes.since(before)[0]))

"""Full-text search over bodies, with every row stored twice, on both engines."""

from collections.abc import Iterator
from typing import Any

import pytest

from stanzalake.model.position import from_milliseconds
from stanzalake.store.client import Store
from stanzalake.store.search import EXCERPT, SearchQuery, SearchResult, search
from tests.support.archives import EVERYTHING, START, row
from tests.support.events import JULIET, stanza
from tests.support.full_text import text_query
from tests.support.stores import migrated_store

NURSE = "nurse@capulet.lit"
LONG = f"{'x ' * 500}needle{' y' * 500}"
SECOND = from_milliseconds(START + 1000)
ROWS = [
    row(from_milliseconds(START), stanza=stanza("Found'st thou out THIS place? By whom?")),
    row(SECOND, stanza=stanza("By love &amp; &quot;luck&quot;, that first did")),
    row(from_milliseconds(START + 2000), peer=NURSE, stanza=stanza("Madam! 50% ÉTÉ 🌹")),
    row(from_milliseconds(START + 2000), owner=NURSE, peer=JULIET, direction="out"),
    row(from_milliseconds(START + 3000), stanza=stanza("plain", "<x xmlns='y'>hidden love</x>")),
    row(from_milliseconds(START + 4000), stanza=stanza(LONG)),
]


@pytest.fixture(scope="module")
def store(dsn: str) -> Iterator[Store]:
    with migrated_store(dsn, merges=False) as store:
        for _ in range(2):
            store.insert(ROWS)
        yield store


@pytest.mark.parametrize(
    ("text", "conditions", "excerpts"),
    [
        ("love", {}, ['love & "luck"']),
        ("LOVE luck", {}, ['love & "luck"']),
        ("this PLACE", {}, ["THIS place"]),
        ('"place this"', {}, []),
        ('"out this plac*"', {}, ["THIS place"]),
        ("lov", {}, []),
        ("lov*", {}, ["love"]),
        ("ete", {}, ["ÉTÉ"]),
        ("50% é*", {}, ["50%"]),
        ("🌹", {}, ["🌹"]),
        ("&", {}, ["love &"]),
        ("%", {}, ["50%"]),
        ("_", {}, []),
        ("quot", {}, []),
        ("jabber:client", {}, []),
        ("'; DROP TABLE x --", {}, []),
        ("hello", {"owner": NURSE}, ["hello"]),
        ("hello", {"owner": JULIET}, []),
        ("madam", {"peer": NURSE}, ["Madam"]),
        ("by", {}, ["THIS place", "luck"]),
        ("by", {"high": SECOND - 1}, ["THIS place"]),
        ("by", {"low": SECOND}, ["luck"]),
    ],
)
def test_a_search_applies_all_its_conditions(
    store: Store, text: str, conditions: dict[str, Any], excerpts: list[str]
) -> None:
    found = search(store, SearchQuery(text_query(text), **conditions), 50, EVERYTHING)
    assert len(found) == len(excerpts)
    for one, excerpt in zip(found, excerpts, strict=True):
        assert excerpt in one.excerpt


def test_a_search_returns_the_newest_matches_in_order(store: Store) -> None:
    found = search(store, SearchQuery(text_query("p*")), 2, EVERYTHING)
    assert [one.position for one in found] == [
        from_milliseconds(START),
        from_milliseconds(START + 3000),
    ]


def test_an_excerpt_is_short_and_contains_the_match(store: Store) -> None:
    [found] = search(store, SearchQuery(text_query("NEEDLE")), 50, EVERYTHING)
    assert "needle" in found.excerpt
    assert len(found.excerpt) == EXCERPT
    assert found == SearchResult(
        *(JULIET, ROWS[-1].position, ROWS[-1].peer, "orchard", "in", "chat"),
        *(found.excerpt, len(ROWS[-1].stanza)),
    )

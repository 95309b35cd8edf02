"""Search by the text of bodies, with every row stored twice, on both engines."""

import itertools
from collections.abc import Iterator

import pytest

from stanzalake.model.position import from_milliseconds
from stanzalake.store import migrations
from stanzalake.store.client import Store
from stanzalake.store.search import EXCERPT, Found, Wanted, search
from tests.contract.test_store import load
from tests.support.archives import START, row
from tests.support.events import JULIET, stanza

NURSE = "nurse@capulet.lit"
LONG = f"{'x ' * 500}needle{' y' * 500}"
SECOND = from_milliseconds(START + 1000)
ROWS = [
    row(from_milliseconds(START), stanza=stanza("Found'st thou out THIS place? By whom?")),
    row(SECOND, stanza=stanza("By love &amp; &quot;luck&quot;, that first did")),
    row(from_milliseconds(START + 2000), peer=NURSE, stanza=stanza("Madam! 50% ÉTÉ")),
    row(from_milliseconds(START + 2000), owner=NURSE, peer=JULIET, direction="out"),
    row(from_milliseconds(START + 3000), stanza=stanza("plain", "<x xmlns='y'>hidden love</x>")),
    row(from_milliseconds(START + 4000), stanza=stanza(LONG)),
]
_names = (f"search_{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def store(dsn: str) -> Iterator[Store]:
    store = Store(dsn, next(_names))
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    store.command(f"SYSTEM STOP MERGES {store.table}")
    for _ in range(2):
        store.insert(ROWS)
    yield store
    store.close()


@pytest.mark.parametrize(
    ("wanted", "excerpts"),
    [
        (Wanted("love"), ['love & "luck"']),
        (Wanted('LOVE & "l'), ['love & "luck"']),
        (Wanted("this PLACE"), ["THIS place"]),
        (Wanted("été"), ["ÉTÉ"]),
        (Wanted("50% é"), ["50%"]),
        (Wanted("&"), ["love &"]),
        (Wanted("%"), ["50%"]),
        (Wanted("_"), []),
        (Wanted("quot"), []),
        (Wanted("jabber:client"), []),
        (Wanted("'; DROP TABLE x --"), []),
        (Wanted("hello", owner=NURSE), ["hello"]),
        (Wanted("hello", owner=JULIET), []),
        (Wanted("a", peer=NURSE), ["Madam"]),
        (Wanted("by"), ["THIS place", "luck"]),
        (Wanted("by", high=SECOND - 1), ["THIS place"]),
        (Wanted("by", low=SECOND), ["luck"]),
    ],
)
def test_what_is_found(store: Store, wanted: Wanted, excerpts: list[str]) -> None:
    found = search(store, wanted, 50)
    assert len(found) == len(excerpts)
    for one, excerpt in zip(found, excerpts, strict=True):
        assert excerpt in one.excerpt


def test_the_newest_are_given_the_newest_last(store: Store) -> None:
    assert [one.position for one in search(store, Wanted("a"), 2)] == [
        from_milliseconds(START + 2000),
        from_milliseconds(START + 3000),
    ]


def test_an_excerpt_is_short_and_has_the_text(store: Store) -> None:
    [found] = search(store, Wanted("NEEDLE"), 50)
    assert "needle" in found.excerpt
    assert len(found.excerpt) == EXCERPT
    assert found == Found(
        JULIET, ROWS[-1].position, ROWS[-1].peer, "in", "chat", found.excerpt, len(ROWS[-1].stanza)
    )

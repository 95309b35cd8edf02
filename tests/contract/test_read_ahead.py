"""Clients that page through an archive larger than its snapshot ask the store seldom."""

import re
from collections.abc import AsyncIterator

import pytest

from query.forms import Filters
from query.mam import SearchQuestion
from query.page_cache import PageCache
from query.question import QueryContext
from query.request import Request
from query.rsm import Paging
from stanzalake.model.position import MAX_POSITION, from_milliseconds
from stanzalake.model.retention import FOREVER
from stanzalake.store.archive_reader import ArchiveReader
from tests.support.archives import SEALER, START, open_archive, rows
from tests.support.events import JULIET
from tests.support.snapshots import NoChanges
from tests.support.stores import CountingStore

NUMBER, PAGE = 2800, 100
REQUEST = Request("capulet.lit", JULIET, JULIET, None, newest=MAX_POSITION)


@pytest.fixture(scope="module")
def store(store: CountingStore) -> CountingStore:
    """Give a store with an archive that has 2,500 messages below its snapshot."""
    store.insert(rows(NUMBER))
    return store


@pytest.fixture
async def cache(store: CountingStore) -> AsyncIterator[PageCache]:
    reader = ArchiveReader(store, SEALER, FOREVER, threads=2)
    yield PageCache(reader, SEALER, NoChanges(), 1 << 26)
    await reader.close()


async def page(cache: PageCache, paging: Paging, filters: Filters) -> tuple[list[int], str]:
    """Return the positions of a page in the order of the archive, and its end."""
    archive = await open_archive(cache, REQUEST)
    question = SearchQuestion(filters, paging, flipped=False, queryid=None)
    answer = await question.answer(QueryContext(archive, PAGE, True, None))  # type: ignore[arg-type]  # publishes nothing
    ids = re.findall("<result [^>]*id=['\"]([^'\"]+)", " ".join(r.content for r in answer.results))
    places = await archive.find(ids)
    return [places[id_] for id_ in ids], answer.payload


@pytest.mark.parametrize("skipped", [0, 100])
@pytest.mark.parametrize("backward", [False, True])
async def test_a_client_gets_five_pages_of_a_hundred_from_one_statement_and_counts_once(
    store: CountingStore, cache: PageCache, skipped: int, backward: bool
) -> None:
    filters = Filters(start=START + 1000 * skipped if skipped else None)
    found: list[int] = []
    paging = Paging(backward=backward)
    statements = store.selects
    for number in range((NUMBER - skipped) // PAGE):
        positions, end = await page(cache, paging, filters)
        found = [*positions, *found] if backward else [*found, *positions]
        index = NUMBER - skipped - PAGE * (number + 1) if backward else PAGE * number
        first, last = (SEALER.seal(JULIET, positions[place]) for place in (0, -1))
        assert f"<count>{NUMBER - skipped}</count>" in end
        # A backward reader's first page has no index: some take it for the last then.
        assert f'index="{index}"' in end or (backward and not number)
        paging = Paging(before=first, backward=True) if backward else Paging(after=last)
    assert found == [from_milliseconds(START + 1000 * n) for n in range(skipped, NUMBER)]
    assert 'complete="true"' in end
    # The snapshot, the count, and the pages below the snapshot, of which a first one stands alone.
    assert store.selects - statements == 2 + (5 if backward else 6)

"""The judge: batches in bounded memory, whatever the size of the histories."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from processor.batch import Batch, Decoded, Rules
from processor.judge import Judge
from processor.policy import Policy
from stanzalake.errors import ResultTooLarge
from stanzalake.log.base import Record
from stanzalake.model.event import VERSION, Message, Preferences, encode
from stanzalake.model.history import History, merge
from tests.support.events import encoded, uncut

OWNERS = [f"user{n}@capulet.lit" for n in range(7)]
RULES = Rules(Policy("true"), frozenset())


class LargeHistories:
    """A sink whose histories can be read for a few owners at a time.

    Args:
        limit: Owners at a time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def histories(self, decoded: Decoded) -> Mapping[str, History]:
        if len(decoded.owners) > self._limit:
            raise ResultTooLarge("too large")
        return {
            owner: merge((), [state for state in decoded.states if state.owner == owner])
            for owner in decoded.owners
        }

    def earlier(self, message: Message, history: History) -> History:
        return uncut(message, history)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def records() -> list[Record]:
    never = [
        encode(
            Preferences(v=VERSION, owner=owner, position=3, default="never", always=(), never=())
        )
        for owner in OWNERS[:3]
    ]
    messages = [encoded(position, owner=owner) for position in (2, 4) for owner in OWNERS]
    values = [*messages[:9], *never, b"garbage", encoded(5, stanza="<message"), *messages[9:]]
    return [Record(0, offset, "key", value) for offset, value in enumerate(values)]


async def judged(limit: int, threads: ThreadPoolExecutor) -> Batch:
    sink = LargeHistories(limit)
    judge = Judge(sink, RULES, threads)  # type: ignore[arg-type]  # stands in for the store
    return await judge.judge(records())


@pytest.mark.parametrize("limit", [1, 2, 6])
async def test_a_batch_is_the_same_if_histories_are_read_for_fewer_owners(
    threads: ThreadPoolExecutor, limit: int
) -> None:
    whole, parts = await judged(len(OWNERS), threads), await judged(limit, threads)
    assert len(whole.rows) == 2 * len(OWNERS) - 3
    assert sorted(parts.rows) == sorted(whole.rows)
    assert {state.owner for state in parts.states} == set(OWNERS[:3])
    assert sorted(parts.dead_letters) == sorted(whole.dead_letters)
    assert parts.offsets == whole.offsets


async def test_a_history_that_is_too_large_by_itself_is_an_error(
    threads: ThreadPoolExecutor,
) -> None:
    with pytest.raises(ResultTooLarge):
        await judged(0, threads)

"""Bounded cache over histories."""

from collections.abc import Collection, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.history_cache import HistoryCache
from stanzalake.errors import StoreUnavailable
from stanzalake.model.event import VERSION, Activation, Preferences
from stanzalake.model.history import History, size

OWNERS = ("a@h", "b@h", "c@h", "d@h")


def said(owner: str, position: int) -> Activation:
    return Activation(v=VERSION, owner=owner, position=position)


def long_list(owner: str) -> Preferences:
    always = tuple(f"{n}{'x' * 100}@y" for n in range(100))
    return Preferences(
        v=VERSION, owner=owner, position=1, default="roster", always=always, never=()
    )


class Source:
    """Histories in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, History] = {}
        self.reads: list[set[str]] = []

    def read(self, owners: Collection[str]) -> Mapping[str, History]:
        self.reads.append(set(owners))
        return {owner: self.kept.get(owner, ()) for owner in owners}

    def add(self, state: Activation) -> None:
        history = {*self.kept.get(state.owner, ()), state}
        self.kept[state.owner] = tuple(sorted(history, key=lambda one: one.position))


def test_a_cached_history_is_not_read_again() -> None:
    source = Source()
    cache = HistoryCache(source)
    cache.get(["a@h"], [])
    cache.get(["a@h", "b@h"], [])
    cache.get(["a@h", "b@h"], [])
    assert source.reads == [{"a@h"}, {"b@h"}]


def test_an_invalidated_history_is_read_again() -> None:
    source = Source()
    cache = HistoryCache(source)
    cache.get(["a@h"], [])
    source.add(said("a@h", 1))
    assert cache.get(["a@h"], []) == {"a@h": ()}
    cache.invalidate()
    assert cache.get(["a@h"], []) == {"a@h": (said("a@h", 1),)}


def test_a_failed_read_keeps_the_new_states(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    cache = HistoryCache(source)

    def fail(_: Collection[str]) -> Mapping[str, History]:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(source, "read", fail)
        with pytest.raises(StoreUnavailable):
            cache.get(["a@h"], [said("a@h", 1)])
    assert cache.get(["a@h"], []) == {"a@h": (said("a@h", 1),)}


def test_a_rejected_state_is_in_no_history() -> None:
    cache = HistoryCache(Source())
    cache.get(["a@h"], [said("a@h", 1)])
    cache.settle([said("a@h", 1)])
    cache.invalidate()
    assert cache.get(["a@h"], []) == {"a@h": ()}


def test_the_cache_is_bounded_in_bytes() -> None:
    source = Source()
    owners = [f"{n}@h" for n in range(100)]
    for owner in owners:
        source.kept[owner] = (long_list(owner),)
    cache = HistoryCache(source, 10 * size(long_list("0@h")))
    for owner in owners:
        cache.get([owner], [])
    source.reads.clear()
    for owner in reversed(owners):
        cache.get([owner], [])
    assert 90 <= len(source.reads) < 100


ROUNDS = st.lists(
    st.tuples(
        st.sets(st.sampled_from(OWNERS)),
        st.lists(st.builds(said, st.sampled_from(OWNERS), st.integers(0, 9)), max_size=4),
        st.booleans(),
    )
)


@given(ROUNDS, st.integers(0, 4000))
def test_a_cache_of_any_size_agrees_with_the_source(
    rounds: list[tuple[set[str], list[Activation], bool]], limit: int
) -> None:
    """States are in the source after the next look-up only, as batches are pipelined."""
    source = Source()
    cache = HistoryCache(source, limit)
    seen: dict[str, set[Activation]] = {owner: set() for owner in OWNERS}
    unwritten: list[Activation] = []
    for owners, states, invalidated in rounds:
        if invalidated:
            cache.invalidate()
        for state in states:
            seen[state.owner].add(state)
        found = cache.get(owners | {state.owner for state in states}, states)
        for owner in owners:
            assert set(found[owner]) == seen[owner]
        for state in unwritten:
            source.add(state)
        cache.settle(unwritten)
        unwritten = states

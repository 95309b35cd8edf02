"""Bounded cache over histories."""

from collections.abc import Collection, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.history_cache import HistoryCache
from stanzalake.errors import StoreUnavailable
from stanzalake.model.event import VERSION, Activation
from stanzalake.model.history import History

OWNERS = ("a@h", "b@h", "c@h", "d@h")


def said(owner: str, position: int) -> Activation:
    return Activation(v=VERSION, owner=owner, position=position)


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
    history_cache = HistoryCache(source)
    history_cache.get(["a@h"], [])
    history_cache.get(["a@h", "b@h"], [])
    history_cache.get(["a@h", "b@h"], [])
    assert source.reads == [{"a@h"}, {"b@h"}]


def test_an_invalidated_history_is_read_again() -> None:
    source = Source()
    history_cache = HistoryCache(source)
    history_cache.get(["a@h"], [])
    source.add(said("a@h", 1))
    assert history_cache.get(["a@h"], []) == {"a@h": ()}
    history_cache.invalidate()
    assert history_cache.get(["a@h"], []) == {"a@h": (said("a@h", 1),)}


def test_a_failed_read_leaves_the_cache_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    history_cache = HistoryCache(source)

    def fail(_: Collection[str]) -> Mapping[str, History]:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(source, "read", fail)
        with pytest.raises(StoreUnavailable):
            history_cache.get(["a@h"], [said("a@h", 1)])
    assert history_cache.get(["a@h"], []) == {"a@h": ()}


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(OWNERS), max_size=4),
            st.lists(st.builds(said, st.sampled_from(OWNERS), st.integers(0, 9)), max_size=4),
        )
    ),
    st.integers(1, 4),
)
def test_a_cache_of_any_size_agrees_with_the_source(
    rounds: list[tuple[list[str], list[Activation]]], most: int
) -> None:
    source = Source()
    history_cache = HistoryCache(source, most)
    for owners, news in rounds:
        recalled = history_cache.get(owners, news)
        for state in news:
            source.add(state)
        for owner in owners:
            assert tuple(recalled[owner]) == tuple(source.kept.get(owner, ()))

"""Histories in the store."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from bench import usage
from stanzalake.errors import ResultTooLarge
from stanzalake.model.event import MAX_JIDS, VERSION, Activation, Preferences
from stanzalake.model.history import MAX_BYTES, MAX_STATES, ArchiveState, cut, merge, size
from stanzalake.store.histories import Histories
from tests.support.stores import ON_BOTH_STORES, migrated_store

pytestmark = ON_BOTH_STORES

A, B, C = "a@h", "b@h", "'; DROP TABLE x; --@h"


def wishes(owner: str, position: int) -> Preferences:
    return Preferences(
        v=VERSION,
        owner=owner,
        position=position,
        default="roster",
        always=("x@y/Ä 'quoted'", "z"),
        never=(),
    )


def activation(owner: str, position: int) -> Activation:
    return Activation(v=VERSION, owner=owner, position=position)


@pytest.fixture
def histories(dsn: str) -> Iterator[Histories]:
    with migrated_store(dsn, expires_after="1y") as store:
        yield Histories(store)


def test_histories_are_read_by_owner_in_order(histories: Histories) -> None:
    states: list[ArchiveState] = [
        activation(A, 9),
        wishes(A, 3),
        wishes(B, 2**64 - 1),
        wishes(C, 1),
    ]
    histories.write(states)
    histories.write([wishes(A, 5)])
    assert histories.read([A, B, C, "none@h"]) == {
        A: (wishes(A, 3), wishes(A, 5), activation(A, 9)),
        B: (wishes(B, 2**64 - 1),),
        C: (wishes(C, 1),),
        "none@h": (),
    }


def test_writing_a_state_again_is_idempotent(histories: Histories) -> None:
    for _ in range(3):
        histories.write([wishes(A, 3)])
    assert histories.read([A]) == {A: (wishes(A, 3),)}


def test_an_owner_without_states_has_an_empty_history(histories: Histories) -> None:
    histories.write([])
    assert histories.read([]) == {}


def test_many_owners_are_read_in_chunks(histories: Histories) -> None:
    owners = [f"{n}@h" for n in range(12_000)]
    histories.write([activation(owner, 1) for owner in owners])
    found = histories.read(owners)
    assert all(found[owner] == (activation(owner, 1),) for owner in owners)


def test_a_history_keeps_the_newest_states(histories: Histories) -> None:
    histories.write([activation(A, position) for position in range(MAX_STATES + 5)])
    found = histories.read([A])[A]
    assert [state.position for state in found] == list(range(5, MAX_STATES + 5))


def test_owners_may_be_many_with_long_names(histories: Histories) -> None:
    owners = [f"{n}{'n' * 1000}@{'h' * 1000}" for n in range(500)]
    histories.write(activation(owner, 1) for owner in owners)
    assert histories.read(owners) == {owner: (activation(owner, 1),) for owner in owners}


def long_list(owner: str, position: int) -> Preferences:
    """Return preferences of about 250 KB, as a client may send them."""
    return Preferences(
        v=VERSION,
        owner=owner,
        position=position,
        default="roster",
        always=tuple(f"{n:04}{'x' * 250}@{position}" for n in range(MAX_JIDS)),
        never=(),
    )


def test_a_history_is_bounded_in_bytes_and_keeps_the_newest_states(histories: Histories) -> None:
    states: list[ArchiveState] = [long_list(A, position) for position in range(1, 6)]
    histories.write(states)
    history = histories.read([A])[A]
    assert history == cut(merge((), states))
    assert 0 < sum(map(size, history)) <= MAX_BYTES
    assert history[-1] == states[-1]


def test_the_newest_preferences_are_kept_whatever_their_size(histories: Histories) -> None:
    jids = tuple(f"{n}{'x' * 1000}@y" for n in range(MAX_JIDS))
    huge = Preferences(v=VERSION, owner=A, position=2, default="never", always=jids, never=())
    histories.write([wishes(A, 1), huge])
    assert size(huge) > MAX_BYTES
    assert histories.read([A])[A] == (huge,)
    histories.write([activation(A, 3)])
    assert histories.read([A])[A] == cut(merge((), [wishes(A, 1), huge, activation(A, 3)]))
    assert histories.read([A])[A] == (huge, activation(A, 3))


def test_too_many_large_histories_are_not_read_at_once(histories: Histories) -> None:
    owners = [f"{n}@h" for n in range(60)]
    histories.write([long_list(owner, 1) for owner in owners])
    with pytest.raises(ResultTooLarge):
        histories.read(owners)
    assert len(histories.read(owners[:20])) == 20


def test_memory_does_not_grow_with_the_number_of_changes(histories: Histories) -> None:
    for start in range(0, 300, 10):
        histories.write([long_list(A, start + n) for n in range(10)])
    histories.read([B])
    usage.forget_peak(os.getpid())
    before = usage.peak(os.getpid())
    assert histories.read([A])[A]
    assert usage.peak(os.getpid()) - before < 100


def test_the_lists_of_older_changes_are_not_read(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    always = tuple(f"{n}@verona.lit" for n in range(20))
    with migrated_store(dsn) as store:
        histories = Histories(store)
        histories.write(replace(wishes(A, n), always=always) for n in range(50_000))
        given_select, bounded = store.select, list[str]()

        def select(statement: str, *values: Any) -> Sequence[Sequence[Any]]:
            if "SETTINGS" in statement:
                statement += ", max_bytes_to_read = 10000000"
                bounded.append(statement)
            return given_select(statement, *values)

        monkeypatch.setattr(store, "select", select)
        assert histories.read([A])[A][-1].position == 49_999
        assert bounded, "no statement was bounded"

"""Histories of archives without what changes nothing in them."""

from hypothesis import given
from hypothesis import strategies as st

from stanzalake.model.event import VERSION, Erasure
from stanzalake.model.history import in_force, merge
from tests.support.events import JULIET, ROMEO, message

NURSE = "nurse@capulet.lit"
positions = st.integers(0, 12)
erasures = st.builds(
    lambda position, start, end, peer, account: Erasure(
        v=VERSION,
        owner=JULIET,
        position=position,
        start=start,
        end=end,
        peer=peer,
        account=account,
    ),
    positions,
    st.sampled_from([0, 0, 0, 3, 6]),
    positions,
    st.sampled_from(["", "", ROMEO, NURSE]),
    st.booleans(),
)
histories = st.lists(erasures, max_size=8, unique_by=lambda erasure: erasure.position)


@given(histories)
def test_erasures_that_another_one_covers_change_nothing(history: list[Erasure]) -> None:
    kept = in_force(history)
    for position in range(14):
        for peer in (ROMEO, NURSE):
            told = message(position=position, peer=peer)
            assert any(e.covers(told) for e in kept) == any(e.covers(told) for e in history)
    ends = [[e.position for e in some if e.account] for some in (kept, history)]
    assert max(ends[0], default=0) == max(ends[1], default=0)


@given(histories, st.integers(0, 8))
def test_what_was_left_out_is_not_missed_later(history: list[Erasure], border: int) -> None:
    first, second = history[:border], history[border:]
    assert merge(merge((), first), second) == merge((), history)


def test_a_room_that_is_destroyed_over_and_over_again_has_one_erasure() -> None:
    history = [
        Erasure(v=VERSION, owner=JULIET, position=position, end=position)
        for position in range(1, 1000)
    ]
    assert merge((), history) == (history[-1],)

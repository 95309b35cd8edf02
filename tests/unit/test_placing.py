"""Placing: imports repeat, stop, go on and overlap, and no message is doubled, lost or moved."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from stanzalake.importer.placing import UPPER_HALF, Placing, moment
from stanzalake.model.position import MAX_POSITION, from_milliseconds, to_milliseconds
from stanzalake.store.taken_positions import TakenPosition

OWNERS = ["juliet@capulet.lit", "nurse@capulet.lit"]
START = 1_790_000_000_000
LAST = from_milliseconds(START, 0xFFFF)

owners = st.sampled_from(OWNERS)
times = st.sampled_from([START, START, START, START + 1, START + 1000])


@dataclass(frozen=True)
class Kept:
    """A message of the source; greater numbers came later."""

    number: int
    owner: str
    at: int

    @property
    def id(self) -> str:
        return f"id-{self.number}"


@dataclass
class World:
    """A source that still changes, a store, and where each id was first."""

    source: list[Kept] = field(default_factory=list)
    store: set[TakenPosition] = field(default_factory=set)
    first: dict[str, tuple[Kept, int]] = field(default_factory=dict)
    arrived: int = 0

    def arrive(self, owner: str, at: int) -> None:
        self.arrived += 1
        self.source.append(Kept(self.arrived, owner, at))

    def vanish(self, choice: int) -> None:
        if self.source:
            self.source.pop(choice % len(self.source))

    def tap(self, owner: str, at: int, sequence: int) -> None:
        self.store.add(TakenPosition(owner, from_milliseconds(at, sequence), ""))

    def load(self, chosen: set[str], size: int, batches: int) -> None:
        """Import what is chosen, and be killed behind a number of batches."""
        wanted = sorted((k for k in self.source if k.owner in chosen), key=lambda k: k.owner)
        for start in range(0, len(wanted), size)[:batches]:
            self._batch(wanted[start : start + size])

    def _batch(self, kept: list[Kept]) -> None:
        moments = {moment(k.owner, from_milliseconds(k.at)) for k in kept}
        seen = [p for p in self.store if moment(p.owner, p.position) in moments]
        placing = Placing(seen)
        for one in kept:
            position = placing.give(one.owner, one.id, one.at)
            if position is not None:
                assert one.id not in self.first
                assert not any((one.owner, position) == place[:2] for place in self.store)
                self.first[one.id] = one, position
                self.store.add(TakenPosition(one.owner, position, one.id))


actions = st.one_of(
    st.tuples(st.just("arrive"), owners, times),
    st.tuples(st.just("arrive"), owners, times),
    st.tuples(st.just("vanish"), st.integers(0, 20)),
    st.tuples(st.just("tap"), owners, times, st.integers(0, 2)),
    st.tuples(st.just("load"), st.sets(owners, min_size=1), st.integers(1, 4), st.integers(0, 5)),
)


@given(st.lists(actions, max_size=40))
def test_whatever_happens_between_imports(steps: list[tuple[str, *tuple[object, ...]]]) -> None:
    world = World()
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    world.load(set(OWNERS), 3, 1000)
    assert {kept.id for kept in world.source} <= world.first.keys()
    imported = sorted(world.first.values(), key=lambda pair: (pair[0].owner, pair[1]))
    assert [kept for kept, _ in imported] == sorted(
        (kept for kept, _ in imported), key=lambda k: (k.owner, k.at, k.number)
    )
    assert all(to_milliseconds(position) == kept.at for kept, position in imported)


def test_imports_have_the_upper_half_of_a_millisecond() -> None:
    assert Placing([]).give(OWNERS[0], "a", START) == from_milliseconds(START, UPPER_HALF)


def test_a_full_millisecond_runs_over_into_the_next() -> None:
    placing = Placing([TakenPosition(OWNERS[0], LAST, "a")])
    over = from_milliseconds(START + 1, UPPER_HALF)
    assert placing.give(OWNERS[0], "b", START) == over
    assert placing.give(OWNERS[0], "c", START + 1) == over + 1
    assert placing.give(OWNERS[0], "d", START) == over + 2


def test_an_id_is_of_one_owner() -> None:
    placing = Placing([TakenPosition(OWNERS[0], LAST, "a")])
    assert placing.give(OWNERS[0], "a", START + 1) is None
    assert placing.give(OWNERS[1], "a", START) is not None


def test_a_message_with_a_position_keeps_it() -> None:
    placing = Placing([TakenPosition(OWNERS[0], 7, "")])
    assert placing.keep(OWNERS[0], MAX_POSITION) == MAX_POSITION
    assert placing.keep(OWNERS[0], MAX_POSITION) is None
    assert placing.keep(OWNERS[0], 7) is None
    assert placing.keep(OWNERS[1], 7) == 7

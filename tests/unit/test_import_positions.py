"""Positions of imported messages: repeated, interrupted and overlapping imports agree."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from stanzalake.importer.positions import UPPER_HALF, PositionAllocator, moment
from stanzalake.model.position import MAX_POSITION, from_milliseconds, to_milliseconds
from stanzalake.store.taken_positions import TakenPosition

OWNERS = ["juliet@capulet.lit", "nurse@capulet.lit"]
START = 1_790_000_000_000
LAST = from_milliseconds(START, 0xFFFF)

owners = st.sampled_from(OWNERS)
times = st.sampled_from([START, START, START, START + 1, START + 1000])


@dataclass(frozen=True)
class Kept:
    """A message of the source; numbers increase with arrival."""

    number: int
    owner: str
    at: int

    @property
    def id(self) -> str:
        return f"id-{self.number}"


@dataclass
class World:
    """A source that still changes, a store, and the first position of each id."""

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
        """Import the chosen owners' messages, and stop after a number of batches."""
        selected = sorted((k for k in self.source if k.owner in chosen), key=lambda k: k.owner)
        for start in range(0, len(selected), size)[:batches]:
            self._batch(selected[start : start + size])

    def _batch(self, kept: list[Kept]) -> None:
        moments = {moment(k.owner, from_milliseconds(k.at)) for k in kept}
        seen = [p for p in self.store if moment(p.owner, p.position) in moments]
        allocator = PositionAllocator(seen)
        for message in kept:
            position = allocator.allocate(message.owner, message.id, message.at)
            if position is not None:
                assert message.id not in self.first
                assert not any((message.owner, position) == taken[:2] for taken in self.store)
                self.first[message.id] = message, position
                self.store.add(TakenPosition(message.owner, position, message.id))


actions = st.one_of(
    st.tuples(st.just("arrive"), owners, times),
    st.tuples(st.just("arrive"), owners, times),
    st.tuples(st.just("vanish"), st.integers(0, 20)),
    st.tuples(st.just("tap"), owners, times, st.integers(0, 2)),
    st.tuples(st.just("load"), st.sets(owners, min_size=1), st.integers(1, 4), st.integers(0, 5)),
)


@given(st.lists(actions, max_size=40))
def test_imports_neither_lose_nor_repeat_nor_reorder_messages(
    steps: list[tuple[str, *tuple[object, ...]]],
) -> None:
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
    position = PositionAllocator([]).allocate(OWNERS[0], "a", START)
    assert position == from_milliseconds(START, UPPER_HALF)


def test_a_full_millisecond_overflows_into_the_next() -> None:
    allocator = PositionAllocator([TakenPosition(OWNERS[0], LAST, "a")])
    overflow = from_milliseconds(START + 1, UPPER_HALF)
    assert allocator.allocate(OWNERS[0], "b", START) == overflow
    assert allocator.allocate(OWNERS[0], "c", START + 1) == overflow + 1
    assert allocator.allocate(OWNERS[0], "d", START) == overflow + 2


def test_a_message_follows_all_imported_into_its_millisecond_also_behind_a_gap() -> None:
    taken = [from_milliseconds(START, UPPER_HALF + n) for n in (5, 1)]
    allocator = PositionAllocator(TakenPosition(OWNERS[0], at, f"{at}") for at in taken)
    assert allocator.allocate(OWNERS[0], "a", START) == taken[0] + 1


def test_many_messages_of_a_millisecond_take_time_by_their_number() -> None:
    """A source may know the day alone; for the square of these, the timeout is too short."""
    allocator, number = PositionAllocator([]), 4 * UPPER_HALF
    found = [allocator.allocate(OWNERS[0], f"{n}", START) for n in range(number)]
    assert found[-1] == from_milliseconds(START + 3, 0xFFFF)
    assert len(set(found)) == number


def test_two_owners_may_have_the_same_id() -> None:
    allocator = PositionAllocator([TakenPosition(OWNERS[0], LAST, "a")])
    assert allocator.allocate(OWNERS[0], "a", START + 1) is None
    assert allocator.allocate(OWNERS[1], "a", START) is not None


def test_a_message_exported_from_here_keeps_its_position() -> None:
    allocator = PositionAllocator([TakenPosition(OWNERS[0], 7, "")])
    assert allocator.reserve(OWNERS[0], MAX_POSITION) == MAX_POSITION
    assert allocator.reserve(OWNERS[0], MAX_POSITION) is None
    assert allocator.reserve(OWNERS[0], 7) is None
    assert allocator.reserve(OWNERS[1], 7) == 7

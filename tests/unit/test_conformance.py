"""The page of requirements says what the tests hold, and leaves none out."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from tests.support import conformance
from tests.support.conformance import PAGE, Row

ROWS = tuple(conformance.rows(PAGE.read_text()))
ENTRIES = {
    "313": 161, "59": 29, "297": 8, "359": 19, "441": 21, "355": 36, "356": 22, "334": 9,
    "114": 8, "4": 15, "68": 6, "122": 4, "82": 8, "203": 5, "30": 7, "280": 7, "IM": 10,
    "424": 13, "425": 7, "386": 3, "413": 8, "430": 15, "431": 6, "490": 2, "RFC": 8,
}  # fmt: skip
"""How many requirements each document has."""

BEHAVIOURS = frozenset(range(1, 56)) - {2}
"""What other servers' suites check, by number; the second is of rooms, which have no archive."""

STATE = re.compile(r"holds(: .+)?|(chosen|departs|not applicable): .+")


def ids(row: Row) -> str:
    return row.entry


@pytest.fixture(scope="module")
def held() -> Mapping[object, Sequence[str]]:
    return conformance.marked("requirement")


def test_every_requirement_is_listed_once() -> None:
    groups = Counter(row.entry.rpartition("-")[0] for row in ROWS)
    assert groups == ENTRIES
    assert [row.entry for row in ROWS] == [
        f"{group}-{number:02}" for group in groups for number in range(1, groups[group] + 1)
    ]


def test_every_marker_names_a_requirement(held: Mapping[object, Sequence[str]]) -> None:
    assert held.keys() <= {row.entry for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_a_state_is_one_of_four_and_has_its_reason(row: Row) -> None:
    assert STATE.fullmatch(row.state)


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_the_tests_named_are_those_that_carry_the_marker(
    row: Row, held: Mapping[object, Sequence[str]]
) -> None:
    tests = tuple(held.get(row.entry, ()))
    assert row.tests == tests, "run python -m tests.support.conformance"
    assert bool(tests) is not row.state.startswith("not applicable")


def test_every_behaviour_has_its_test() -> None:
    assert conformance.marked("behaviour").keys() == BEHAVIOURS

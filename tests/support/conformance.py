"""Which test holds which requirement: the tests' markers, and the page that shows them.

``python -m tests.support.conformance`` writes the last column of docs/conformance.md anew.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "conformance.md"

_CELLS = 5
_BETWEEN = "<br>"


class Row(NamedTuple):
    """A row of the page.

    Attributes:
        entry: The requirement's number, like 313-59.
        source: Section and level.
        requirement: The text of the requirement.
        state: One of the page's states, with its clause.
        tests: The tests that hold it, by tier, file and name.
    """

    entry: str
    source: str
    requirement: str
    state: str
    tests: tuple[str, ...]


def rows(page: str) -> Iterator[Row]:
    """Give the rows of the page's tables."""
    return (row for line in page.splitlines() if (row := _row(line)) is not None)


def marked(name: str) -> Mapping[object, Sequence[str]]:
    """Give the tests that carry each argument of a marker, in the order of tiers and files."""
    found: defaultdict[object, list[str]] = defaultdict(list)
    for path in sorted(TESTS.glob("*/test_*.py")):
        for test, argument in _arguments(path, name):
            found[argument].append(f"{path.relative_to(TESTS).as_posix()}::{test}")
    return found


def refreshed(page: str) -> str:
    """Give the page with the tests' own words in its last column."""
    held = marked("requirement")
    lines = (_refreshed(line, _row(line), held) for line in page.splitlines())
    return "\n".join(lines) + "\n"


def _row(line: str) -> Row | None:
    cells = [cell.strip() for cell in line.strip("|").split(" | ")]
    if not line.startswith("| ") or len(cells) != _CELLS or not cells[0][-1:].isdigit():
        return None
    entry, source, requirement, state, tests = cells
    return Row(entry, source, requirement, state, tuple(tests.split(_BETWEEN)) if tests else ())


def _refreshed(line: str, row: Row | None, held: Mapping[object, Sequence[str]]) -> str:
    if row is None:
        return line
    return f"| {' | '.join(row[:-1])} | {_BETWEEN.join(held.get(row.entry, ()))} |"


def _arguments(path: Path, name: str) -> Iterator[tuple[str, object]]:
    """Give the marker's arguments of a file, each with the name of the test that it is on."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == f"pytest.mark.{name}":
                    yield from ((node.name, ast.literal_eval(value)) for value in mark.args)


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text()))

"""A part of the benchmarks against a revision: both in turn, several times, as ratios of medians.

Each tree measures itself with its own bench, so any part that the revision has can be compared.
"""

import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from bench import report, revision
from bench.report import Cell, Table

OURS, THEIRS = "ours", "the revision"


async def compare(part: str, name: str, runs: int, options: Sequence[str], directory: Path) -> Grid:
    """Measure a part here and at a revision in turn.

    Args:
        part: The part's name, the same in both trees.
        name: The revision.
        runs: How often each is measured.
        options: Further options of the command line, as `--size quick`.
        directory: For the revision's tree and the results.

    Returns:
        For each figure that both have: its medians and their ratio, ours to the revision's.

    Raises:
        RuntimeError: The revision cannot be checked out, or a run failed.
    """
    results: dict[str, list[Table]] = {OURS: [], THEIRS: []}
    async with revision.checked_out(name, directory / "tree") as tree:
        for run in range(runs):
            for kind, root in ((OURS, revision.ROOT), (THEIRS, tree)):
                saved = directory / f"{kind} {run}"
                await revision.run_part(root, part, *options, "--results", str(saved))
                results[kind] += report.load(saved)
    return _grid(part, name, runs, results)


def _grid(part: str, name: str, runs: int, results: dict[str, list[Table]]) -> Grid:
    grid = Grid(title=f"{part}: this tree against {name}, medians of {runs} alternating runs")
    for column in ("", "figure", "this tree", name, "ratio"):
        grid.add_column(column, justify="left" if column in ("", "figure") else "right")
    medians = {kind: _medians(tables) for kind, tables in results.items()}
    for key, ours in medians[OURS].items():
        if (theirs := medians[THEIRS].get(key)) is not None:
            ratio = report.number(ours / theirs) if theirs else ""
            grid.add_row(*key, report.number(ours), report.number(theirs), ratio)
    return grid


def _medians(tables: Sequence[Table]) -> dict[tuple[str, str], float]:
    """Compute the median of each numeric cell, keyed by row and column."""
    cells: dict[tuple[str, str], list[float]] = {}
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns[1:], row[1:], strict=True):
                _add(cells, (str(row[0]), column), cell)
        for target in table.targets:
            _add(cells, ("target", target.what), target.value)
    return {key: statistics.median(values) for key, values in cells.items()}


def _add(cells: dict[tuple[str, str], list[float]], key: tuple[str, str], cell: Cell) -> None:
    # A target that a run did not get to is infinite.
    if not isinstance(cell, str) and math.isfinite(cell):
        cells.setdefault(key, []).append(float(cell))


def show(grid: Grid) -> None:
    """Print a comparison."""
    Console(file=sys.stdout, width=160).print(grid)

"""The report: each part's table on the screen, as JSON and as a picture, and a summary of all.

The JSON files are the only record of the measurements; docs/figures.md is written from them.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table as Grid

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).parents[1] / "docs" / "figures.md"

_PLACE = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)
"""Where the page has the table."""

Cell = str | int | float


@dataclass(frozen=True)
class Target:
    """A figure and its target.

    Attributes:
        what: Name of the figure, with its unit.
        value: The figure.
        wanted: The target.
        least: Whether the target is a minimum; a maximum if not.
    """

    what: str
    value: float
    wanted: float
    least: bool = True

    @property
    def met(self) -> bool:
        """Whether the target was reached."""
        return self.value >= self.wanted if self.least else self.value <= self.wanted

    @property
    def limit(self) -> str:
        """The target in words."""
        return f"{'at least' if self.least else 'at most'} {number(self.wanted)}"

    @property
    def verdict(self) -> str:
        """`met` or `missed`."""
        return "met" if self.met else "missed"


@dataclass(frozen=True)
class Table:
    """Result of a part of the benchmarks.

    Attributes:
        part: The part's name.
        title: Title of the table.
        load: The load, the data and the seed.
        columns: Names of the columns, the contenders' first.
        rows: A row for each contender.
        drawn: The columns that the picture shows.
        targets: Figures with their targets.
        memory: The MiB that each process had in memory at most.
    """

    part: str
    title: str
    load: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    drawn: Sequence[str]
    targets: Sequence[Target] = ()
    memory: Mapping[str, float] = field(default_factory=dict)


def number(value: Cell) -> str:
    """Write a cell: three digits that count, thousands with commas."""
    if isinstance(value, str):
        return value
    if abs(value) >= 100 or value == int(value):  # noqa: PLR2004  # three digits
        return f"{value:,.0f}"
    return f"{value:.3g}"


def show(table: Table, console: Console) -> None:
    """Print a table with its targets and the memory used."""
    grid = Grid(title=f"{table.title}", caption=table.load)
    for place, column in enumerate(table.columns):
        grid.add_column(column, justify="right" if place else "left")
    for row in table.rows:
        grid.add_row(*map(number, row))
    console.print(grid)
    for target in table.targets:
        console.print(
            f"  {target.verdict}: {target.what} {number(target.value)}, to reach {target.limit}"
        )
    for process, peak in table.memory.items():
        console.print(f"  {process}: {number(peak)} MiB at most")


def save(table: Table, directory: Path) -> None:
    """Write a table as JSON and as a picture."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(table), indent=1, ensure_ascii=False)
    (directory / f"{table.part}.json").write_text(text + "\n")
    _picture(table).savefig(directory / f"{table.part}.svg", metadata={"Date": None})


def load(directory: Path) -> Iterator[Table]:
    """Load the tables saved in a directory, ordered by part."""
    for file in sorted(directory.glob("*.json")):
        fields = json.loads(file.read_text())
        targets = [Target(**target) for target in fields.pop("targets")]
        yield Table(**fields, targets=targets)


def summary(tables: Iterable[Table]) -> str:
    """Format all targets as a Markdown table."""
    lines = ["| part | figure | measured | to reach | |", "|---|---|--:|--:|---|"]
    lines += [
        f"| [{table.part}](../bench/results/{table.part}.svg) | {target.what} "
        f"| {number(target.value)} | {target.limit} | {target.verdict} |"
        for table in tables
        for target in table.targets
    ]
    return "\n".join(lines)


def write_summary(page: Path, results: Path) -> None:
    """Replace the table of the page by that of the results."""
    table = summary(load(results)) + "\n"
    page.write_text(_PLACE.sub(lambda _: table, page.read_text()))


def _picture(table: Table) -> Figure:
    """Draw a bar for each row and drawn column."""
    figure = Figure(figsize=(9, 1.5 + 0.3 * len(table.rows) * len(table.drawn)), layout="tight")
    axes = figure.add_subplot(title=table.title)
    height = 0.8 / len(table.drawn)
    for nth, column in enumerate(table.drawn):
        place = table.columns.index(column)
        bars = {n + nth * height: row[place] for n, row in enumerate(table.rows)}
        shown = {y: cell for y, cell in bars.items() if not isinstance(cell, str)}
        drawn = axes.barh(list(shown), list(shown.values()), height=height, label=column)
        axes.bar_label(drawn, [number(cell) for cell in shown.values()], padding=3)
    middle = 0.4 - height / 2
    axes.set_yticks(
        [n + middle for n in range(len(table.rows))], [str(row[0]) for row in table.rows]
    )
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.legend()
    return figure

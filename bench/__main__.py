"""The benchmarks' command line: `python -m bench [PART]...`."""

import asyncio
import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from bench import report

PARTS = ("tap", "processor", "ingest", "pages", "mam", "bytes", "lag", "growth")
SEED = 20260101


def measure(part: str, messages: int | None, size: str, seed: int) -> report.Table:
    """Run one part.

    Args:
        part: One of PARTS, which is a module of that name.
        messages: How many messages it takes; as its size says if None.
        size: quick, usual or full.
        seed: What repeats the data.
    """
    module = importlib.import_module(f"bench.{part}")
    with tempfile.TemporaryDirectory(prefix="stanzalake-bench-") as directory:
        number = messages or module.SIZES[size]
        table: report.Table = asyncio.run(module.measure(number, seed, Path(directory)))
        return table


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option(
    "--size",
    type=click.Choice(["quick", "usual", "full"]),
    default="usual",
    show_default=True,
    help="quick runs in seconds and proves nothing; full takes hours.",
)
@click.option("--messages", type=click.IntRange(min=1000), help="In place of the size's.")
@click.option("--seed", default=SEED, show_default=True, help="What repeats the data.")
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=report.RESULTS,
    help="Where each part's JSON and picture go; bench/results by default.",
)
@click.option(
    "--page", is_flag=True, help="Measure nothing: write the results into docs/figures.md."
)
def main(  # noqa: PLR0913, PLR0917  # one for each option
    parts: Sequence[str], size: str, messages: int | None, seed: int, results: Path, page: bool
) -> None:
    """Measure PARTS, or all of them, each against its contenders in the same run."""
    if page:
        report.write_summary(report.PAGE, results)
        return
    console = Console()
    for part in parts or PARTS:
        with console.status(f"measuring {part}"):
            table = measure(part, messages, size, seed)
        report.save(table, results)
        report.show(table, console)


if __name__ == "__main__":
    main()

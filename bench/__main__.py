"""The benchmarks' command line: `python -m bench [PART]...`."""

import asyncio
import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from bench import against, report, revision
from stanzalake.observability.quiet import silence_libraries

PARTS = (
    "tap",
    "rooms",
    "processor",
    "ingest",
    "pages",
    "mam",
    "delivery",
    "isolation",
    "bytes",
    "lag",
    "growth",
    "search",
    "inbox",
    "analysts",
    "year",
    "partitions",
)
END_TO_END = frozenset({"mam", "delivery", "isolation", "lag"})
"""Parts that take a revision as one more contender of the same run."""
SEED = 20260101


def measure(part: str, messages: int | None, size: str, seed: int) -> report.Table:
    """Run one part.

    Args:
        part: One of PARTS; a module of that name.
        messages: Number of messages; the default of the size if None.
        size: quick, usual or full.
        seed: Seed of the generated data.
    """
    module = importlib.import_module(f"bench.{part}")
    with tempfile.TemporaryDirectory(prefix="stanzalake-bench-") as directory:
        number = messages or module.SIZES[size]
        table: report.Table = asyncio.run(module.measure(number, seed, Path(directory)))
        return table


async def measure_beside(
    part: str, messages: int | None, size: str, seed: int, name: str
) -> report.Table:
    """Run one end-to-end part with a revision as one more contender.

    Raises:
        RuntimeError: git does not know the revision.
    """
    module = importlib.import_module(f"bench.{part}")
    with tempfile.TemporaryDirectory(prefix="stanzalake-bench-") as scratch:
        directory = Path(scratch)
        async with revision.checked_out(name, directory / "tree") as tree:
            number = messages or module.SIZES[size]
            table: report.Table = await module.measure(number, seed, directory, tree, name)
            return table


def compare(part: str, name: str, runs: int, options: Sequence[str]) -> None:
    """Measure one part here and at a revision, and print the ratios."""
    with tempfile.TemporaryDirectory(prefix="stanzalake-bench-") as directory:
        comparison = against.compare(part, name, runs, options, Path(directory))
        against.show(asyncio.run(comparison))


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
@click.option("--against", "name", help="Run each part at this git revision as well, in turn.")
@click.option("--runs", default=3, show_default=True, help="Of each tree, with --against.")
def main(  # noqa: PLR0913, PLR0917  # one for each option
    parts: Sequence[str],
    size: str,
    messages: int | None,
    seed: int,
    results: Path,
    page: bool,
    name: str | None,
    runs: int,
) -> None:
    """Measure PARTS, or all of them, each against its contenders in the same run.

    With --against the figures of this tree and of a revision are compared as ratios, and nothing
    is kept. Uncommitted changes count as this tree's.
    """
    silence_libraries()
    if page:
        report.write_summary(report.PAGE, results)
        return
    if name is not None:
        options = ["--size", size, "--seed", str(seed)]
        options += ["--messages", str(messages)] if messages else []
        for part in parts or PARTS:
            if part in END_TO_END:
                table = asyncio.run(measure_beside(part, messages, size, seed, name))
                report.show(table, Console(width=160))
            else:
                compare(part, name, runs, options)
        return
    console = Console()
    for part in parts or PARTS:
        with console.status(f"measuring {part}"):
            table = measure(part, messages, size, seed)
        report.save(table, results)
        report.show(table, console)


if __name__ == "__main__":
    main()

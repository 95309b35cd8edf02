"""The benchmarks' report, and the table of docs/figures.md, which is made from it."""

from pathlib import Path

import pytest

from bench import report
from bench.report import Table, Target

TABLE = Table(
    part="pages",
    title="Pages",
    load="all of them",
    columns=("question", "p50 ms", "note"),
    rows=[("last", 1234.5, "warm"), ("first", 0.5, "")],
    drawn=("p50 ms",),
    targets=[Target("ms of a page", 1234.5, 5, least=False), Target("pages/s", 600, 500)],
    memory={"up": 100.0},
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234"), (12.0, "12"), (0.12345, "0.123"), (99.96, "100"), ("warm", "warm")],
)
def test_a_number_has_three_digits_that_count(value: float | str, text: str) -> None:
    assert report.number(value) == text


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    report.save(TABLE, tmp_path)
    [found] = report.load(tmp_path)
    assert found.targets == TABLE.targets
    assert [tuple(row) for row in found.rows] == list(TABLE.rows)


def test_a_target_is_met_from_its_own_side() -> None:
    assert [target.met for target in TABLE.targets] == [False, True]


def test_the_page_of_figures_is_written_in_place(tmp_path: Path) -> None:
    page = tmp_path / "figures.md"
    page.write_text("before\n<!-- figures -->\nold\n<!-- end of figures -->\nbehind\n")
    report.save(TABLE, tmp_path / "results")
    report.write_summary(page, tmp_path / "results")
    text = page.read_text()
    assert text.startswith("before\n<!-- figures -->\n| part ")
    assert "1,234 | at most 5 | missed |\n" in text
    assert text.endswith("<!-- end of figures -->\nbehind\n")


def test_the_page_of_figures_matches_the_results(tmp_path: Path) -> None:
    copy = tmp_path / "figures.md"
    copy.write_text(report.PAGE.read_text())
    report.write_summary(copy, report.RESULTS)
    assert copy.read_text() == report.PAGE.read_text()

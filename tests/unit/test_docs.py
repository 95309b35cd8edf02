"""The documents say what is so."""

import re
from pathlib import Path

from prometheus_client import Counter

from archive import metrics, settings
from archive.metrics import ALL

ROOT = Path(__file__).parents[2]


def test_the_readme_lists_every_setting() -> None:
    rows = [
        f"| `{name}` | {default} | {text} |".replace("|  |", "| |")
        for name, default, text in settings.variables()
    ]
    assert "\n".join(rows) in (ROOT / "README.md").read_text()


def test_the_operating_guide_lists_every_metric() -> None:
    guide = (ROOT / "docs" / "operating.md").read_text()
    for metric in ALL:
        suffix = "_total" if isinstance(metric, Counter) else ""
        assert f"| `{metric._name}{suffix}` |" in guide  # noqa: SLF001  # it has no other way to ask
        assert metric._documentation in guide  # noqa: SLF001


def test_every_metric_is_used() -> None:
    code = "\n".join(
        file.read_text()
        for package in ("archive", "ingest", "processor", "query")
        for file in (ROOT / package).rglob("*.py")
        if file.name != "metrics.py"
    )
    for name, value in vars(metrics).items():
        if any(value is metric for metric in ALL):
            assert f"{name}." in code, name


def test_files_that_the_documents_name_are_there() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)
    for test in re.findall(r"`(tests/\S+\.py)`", (ROOT / "README.md").read_text()):
        assert (ROOT / test).is_file(), test

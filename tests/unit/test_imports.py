"""The import rules of the layout: services do not know each other, `archive` knows none."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"archive", "ingest", "processor", "query", "stanzalake"}
ALLOWED = {
    "archive": {"archive"},
    "ingest": {"archive", "ingest"},
    "processor": {"archive", "processor"},
    "query": {"archive", "query"},
    "stanzalake": PACKAGES,
}
SQL = {
    "archive/backup.py",
    "archive/erasures.py",
    "archive/histories.py",
    "archive/inspection.py",
    "archive/local_log.py",
    "archive/messages.py",
    "archive/migrations/__init__.py",
    "archive/places.py",
    "archive/removal.py",
    "archive/search.py",
    "archive/statistics.py",
    "archive/store.py",
    "query/repository.py",
}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_imports_only_what_the_layout_allows(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        assert PACKAGES.intersection(imported(file)) <= ALLOWED[package], file


def test_only_the_log_knows_sqlite_and_only_the_store_knows_clickhouse() -> None:
    for library, homes in {
        "sqlite3": {"archive/local_log.py"},
        "chdb": {"archive/engine.py"},
        "clickhouse_connect": {"archive/store.py"},
        "faust": {"processor/app.py"},
        "aiokafka": {str(file.relative_to(ROOT)) for file in (ROOT / "archive").glob("kafka*.py")},
    }.items():
        for package in PACKAGES:
            for file in (ROOT / package).rglob("*.py"):
                name = str(file.relative_to(ROOT))
                assert library not in imported(file) or name in homes, (library, name)


def test_sql_stands_in_the_store_and_the_repository_only() -> None:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            texts = (
                str(node.value)
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            )
            name = str(file.relative_to(ROOT))
            has_sql = any("SELECT " in text or "INSERT INTO" in text for text in texts)
            assert not has_sql or name in SQL, name

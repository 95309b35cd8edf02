"""Rules of imports beyond import-linter's contracts: SQL, drivers, and the tests themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("ingest", "processor", "query", "stanzalake", "devstack")
STORE = "stanzalake/store/"
HOMES = {
    "sqlite3": ("stanzalake/log/sqlite_file.py",),
    "chdb": ("stanzalake/store/chdb/",),
    "clickhouse_connect": ("stanzalake/store/client.py",),
    "faust": ("processor/app.py",),
    "aiokafka": ("stanzalake/log/kafka/",),
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def has_sql(tree: ast.Module) -> bool:
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return any(
        isinstance(text, str) and ("SELECT " in text or "INSERT INTO" in text) for text in texts
    )


def test_each_driver_is_imported_in_one_place_only() -> None:
    for name, tree in modules():
        for library in HOMES.keys() & set(imported(tree)):
            assert name.startswith(HOMES[library]), (name, library)


def test_sql_stands_in_the_store_and_in_the_embedded_log_only() -> None:
    for name, tree in modules():
        assert not has_sql(tree) or name.startswith((STORE, "stanzalake/log/sqlite_file.py")), name


def imports_of_tests() -> Iterator[tuple[Path, str]]:
    """Yield each module of the tests that a file of theirs imports from."""
    for file in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
                yield file, str(node.module)


def test_tests_import_support_and_never_each_other() -> None:
    """Beside the tests of faults stand the programs that `make` runs."""
    for file, module in imports_of_tests():
        package, _, name = module.rpartition(".")
        program = package == f"tests.{file.parent.name}" and not name.startswith(("test_", "conf"))
        assert module.startswith("tests.support") or program, (file, module)

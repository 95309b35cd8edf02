"""Docstrings are worded in the field's terms: a noun or a verb, seldom a clause with "what"."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("ingest", "processor", "query", "stanzalake", "devstack")
LIMIT = 2 / 1000
"""Share of docstring words that may be "what"."""


def docstrings(package: str) -> Iterator[str]:
    """Yield the docstrings of a package, those of constants and attributes included."""
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                yield str(node.value.value)


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_seldom_say_what(package: str) -> None:
    words = re.findall(r"[a-z']+", " ".join(docstrings(package)).lower())
    assert words.count("what") <= LIMIT * len(words)

"""The table of bounds in docs/operating.md agrees with the code."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.documents import ROOT

LARGE = 64 * 1024

_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "GB": 10**9, "s": 1}
_NUMBER = re.compile(r"\b(\d[\d,]*)(?: (KiB|MiB|GiB|GB|s)\b)?")
_ITEM = re.compile(r"((?:`\w+`(?:, )?)+) in ((?:`[\w./]+`(?:, )?)+)")
_TICKED = re.compile(r"`([\w./]+)`")


class Bound(NamedTuple):
    """A row of the table.

    Attributes:
        subject: The first column.
        numbers: Numbers of the second column, in bytes if they have such a unit.
        constants: Files and names of the third column.
    """

    subject: str
    numbers: set[int]
    constants: list[tuple[Path, str]]


def bounds() -> Iterator[Bound]:
    section = (ROOT / "docs/operating.md").read_text().partition("\n## Bounds\n")[2]
    for line in section.splitlines():
        if line.startswith("| ") and not line.startswith("| what |"):
            subject, bound, where = line.strip("| ").split(" | ")
            plain = re.sub(r"`[^`]*`", "", bound)
            numbers = {int(n.replace(",", "")) * _UNITS[u] for n, u in _NUMBER.findall(plain)}
            yield Bound(subject, numbers, list(constants(where)))


def constants(where: str) -> Iterator[tuple[Path, str]]:
    for names, files in _ITEM.findall(where):
        for file in _TICKED.findall(files):
            folder = ROOT / "prosody/mod_stanzalake" if file.endswith(".lib.lua") else ROOT
            yield from ((folder / file, name) for name in _TICKED.findall(names))


def value(file: Path, name: str) -> int:
    """Return the value of a constant or an option."""
    if file.suffix == ".py":
        return of_python(file, name)
    if file.suffix == ".xml":
        [text] = re.findall(rf"<{name}>(\d+)</{name}>", file.read_text())
        return int(text)
    return of_lua(file.read_text(), name)


def of_python(file: Path, name: str) -> int:
    """Return a module's constant, or the entry of a dictionary of the module."""
    module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    tables = (table for table in vars(module).values() if isinstance(table, dict))
    found = getattr(module, name, None) or next(t[name] for t in tables if name in t)
    return int(found)


def of_lua(text: str, name: str) -> int:
    """Return a constant, one of several that are declared together, or the default of an option."""
    option = re.search(rf"\b{name} = option\((.+?), ", text)
    if option:
        return product(text, option[1])
    for names, values in re.findall(r"^local ([\w, ]+) = ([^\n]+);$", text, re.MULTILINE):
        declared = dict(zip(names.split(", "), values.split(", "), strict=False))
        if name in declared:
            return product(text, declared[name])
    raise AssertionError(name)


def product(text: str, expression: str) -> int:
    """Evaluate a product of numbers, names and their powers."""
    result = 1
    for factor in expression.split(" * "):
        base, _, exponent = factor.partition(" ^ ")
        result *= (int(base) if base.isdecimal() else of_lua(text, base)) ** int(exponent or 1)
    return result


BOUNDS = {bound.subject: bound for bound in bounds()}


@pytest.mark.parametrize("subject", BOUNDS)
def test_a_bound_in_the_documents_is_that_of_the_code(subject: str) -> None:
    bound = BOUNDS[subject]
    assert {value(file, name) for file, name in bound.constants} == bound.numbers


def declared() -> Iterator[tuple[Path, str]]:
    """Yield the constants of services and module that are named as bounds."""
    for folder in ("ingest", "processor", "query", "stanzalake/log", "stanzalake/store"):
        for file in (ROOT / folder).rglob("*.py"):
            yield from ((file, name) for name in re.findall(r"(?m)^(_?MAX_\w+)", file.read_text()))
    for file in (ROOT / "prosody/mod_stanzalake").glob("*.lua"):
        for names in re.findall(r"(?m)^local (MAX_[\w, ]+) =", file.read_text()):
            yield from ((file, name) for name in names.split(", "))


@pytest.mark.parametrize("constant", declared(), ids=lambda c: f"{c[0].name}:{c[1]}")
def test_a_large_bound_of_the_code_is_in_the_documents(constant: tuple[Path, str]) -> None:
    named = {constant for bound in BOUNDS.values() for constant in bound.constants}
    assert constant in named or value(*constant) < LARGE

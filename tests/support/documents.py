"""The documents' code blocks, for tests that run them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "prosody").rglob("*.md"),
]

_BLOCK_OR_HEADING = re.compile(
    r"^ *```(?P<kind>\w*)\n(?P<text>.*?)^ *```$|^#+ (?P<heading>[^\n]*)$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A block of code.

    Attributes:
        document: Its document's path in the project.
        section: The heading before it.
        kind: Its language; `sh` is commands, `text` a picture or a formula.
        text: The code.
    """

    document: str
    section: str
    kind: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Its lines."""
        return self.text.splitlines()

    @property
    def commands(self) -> list[str]:
        """Its lines without comments."""
        return [line.partition(" #")[0].rstrip() for line in self.lines]


def blocks() -> Iterator[Block]:
    """Give every block of every document."""
    for document in DOCUMENTS:
        section = ""
        for match in _BLOCK_OR_HEADING.finditer(document.read_text()):
            section = match["heading"] or section
            if match["heading"] is None:
                name = str(document.relative_to(ROOT))
                yield Block(name, section, match["kind"], dedent(match["text"]))


def section(document: str, title: str, kind: str = "sh") -> list[Block]:
    """Give all blocks of a kind in a section of a document, in their order."""
    return [block for block in blocks() if block[:3] == (document, title, kind)]


def anchors(document: Path) -> set[str]:
    """Give the names under which GitHub shows a document's headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def questions() -> dict[str, str]:
    """Give the analysts' guide's statements by their headings."""
    found = [block for block in blocks() if block.document == "docs/analytics.md"]
    return {block.section: block.text for block in found if block.kind == "sql"}


def panels() -> dict[str, str]:
    """Give the statements of the analysts' dashboard by panel, of the days of the tests."""
    board = json.loads((ROOT / "deploy/grafana/dashboards/analytics.json").read_text())
    days = "(day >= toDate('2026-09-01') AND day <= toDate('2026-09-30'))"
    return {
        panel["title"]: target["rawSql"].replace("$__dateFilter(day)", days)
        for panel in board["panels"]
        for target in panel["targets"]
    }

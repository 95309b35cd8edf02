"""The documents say what is so."""

import re
import shlex
from collections.abc import Iterator
from functools import cache

import click
import pytest
import yaml
from prometheus_client import Counter

from stanzalake.cli.main import cli
from stanzalake.config import settings
from stanzalake.observability import metrics
from stanzalake.observability.metrics import ALL
from tests.support.documents import DOCUMENTS, ROOT, anchors, blocks, section

RUN = {
    ("docs/installing.md", "On Debian, in one process"): "tests/e2e/test_installing.py",
    ("docs/installing.md", "As a Debian package"): "tests/e2e/test_installing.py",
    ("docs/installing.md", "In containers"): "tests/e2e/test_containers.py",
    ("docs/scaling.md", "In containers"): "tests/e2e/test_containers.py",
    ("docs/moving.md", "The move"): "tests/e2e/test_migration.py",
    ("docs/moving.md", "Going back"): "tests/integration/test_migrator.py",
    ("docs/operating.md", "The access log"): "tests/integration/test_access_log.py",
    ("docs/operating.md", "A damaged embedded log"): "tests/integration/test_sqlite_log.py",
    ("docs/backup.md", "Restoring one"): "tests/integration/test_backup.py",
    ("docs/backup.md", "Moving the data directory"): "tests/integration/test_backup.py",
}
"""The sections whose commands a test reads and runs, every line of them."""
PREFIX = r"(?:runuser -u \w+ -- |\w+=\S+ )?"
OURS = re.compile(PREFIX + r"((?:stanzalake|prosodyctl mod_stanzalake|docker compose) .*)")
COMPOSE = re.compile(r"docker compose (?:exec|run --rm) (\w+) ?(.*)")
TAP = (ROOT / "prosody/mod_stanzalake/command.lib.lua").read_text()


def lines() -> Iterator[str]:
    """Give every line of shell in a document, without what is said behind it."""
    for block in blocks():
        if block.kind == "sh":
            yield from block.commands


def commands() -> Iterator[str]:
    """Give every command of ours."""
    for line in lines():
        if match := OURS.match(line):
            yield match[1]


@cache
def proven() -> set[str]:
    """Give every line of shell that a test runs."""
    return {line for place in RUN for block in section(*place) for line in block.commands}


def mentions() -> Iterator[str]:
    """Give every command of ours in a text."""
    for document in DOCUMENTS:
        yield from re.findall(r"`(stanzalake [a-z][^`]*)`", document.read_text())


def parse(words: list[str], group: click.Group = cli, parent: click.Context | None = None) -> None:
    """Have click read a command line, without doing what it says."""
    context = group.make_context("stanzalake", words, parent=parent)
    if not (rest := [*context._protected_args, *context.args]):  # noqa: SLF001  # click's own way
        return
    name, command, rest = group.resolve_command(context, rest)
    if isinstance(command, click.Group):
        parse(rest, command, context)
    elif command is not None:
        command.make_context(name, rest, parent=context)


def test_the_settings_page_lists_every_setting() -> None:
    rows = [
        f"| `{name}` | {default} | {text} |".replace("|  |", "| |")
        for name, default, text in settings.variables()
    ]
    assert "\n".join(rows) in (ROOT / "docs" / "settings.md").read_text()


def test_the_operating_guide_lists_every_metric() -> None:
    guide = (ROOT / "docs" / "operating.md").read_text()
    for metric in ALL:
        suffix = "_total" if isinstance(metric, Counter) else ""
        assert f"| `{metric._name}{suffix}` |" in guide  # noqa: SLF001  # it has no other way to ask
        assert metric._documentation in guide  # noqa: SLF001


def test_every_metric_is_used() -> None:
    code = "\n".join(
        file.read_text()
        for package in ("ingest", "processor", "query", "stanzalake")
        for file in (ROOT / package).rglob("*.py")
        if file.name != "metrics.py"
    )
    for name, value in vars(metrics).items():
        if any(value is metric for metric in ALL):
            assert f"{name}." in code, name


def test_every_block_says_of_what_kind_it_is() -> None:
    kinds = {"sh", "text", "lua", "mermaid", "sql", "xml", "json"}
    assert [block for block in blocks() if block.kind not in kinds] == []


@pytest.mark.parametrize("line", sorted(set(lines())))
def test_every_line_of_shell_is_ours_or_run_by_a_test(line: str) -> None:
    if line.startswith("make "):
        assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert OURS.match(line) or line in proven(), line


@pytest.mark.parametrize(("place", "test"), RUN.items())
def test_what_is_run_is_read_from_the_document(place: tuple[str, str], test: str) -> None:
    assert section(*place)
    assert all(word in (ROOT / test).read_text() for word in place)


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_can_be_given_as_it_stands(line: str) -> None:
    if line.startswith("docker compose ") and line in proven():
        return  # of the containers themselves, not of ours
    if match := COMPOSE.fullmatch(line):
        assert match[1] in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        line = match[2] if " exec " in line else f"stanzalake {match[2]}"
    if line.startswith("stanzalake "):
        parse(shlex.split(line.partition(" > ")[0])[1:])
    else:
        assert line.startswith("prosodyctl mod_stanzalake ")
        name, *options = line.replace("[", "").replace("]", "").split()[2:]
        assert f"\n {name} " in TAP
        for option in options:
            assert not option.startswith("--") or f"[{option}" in TAP


@pytest.mark.parametrize("mention", sorted(set(mentions())))
def test_every_command_that_is_named_is_there(mention: str) -> None:
    command: click.Command = cli
    for word in mention.split()[1:]:
        if word.startswith("--"):
            options = command.get_params(click.Context(command))
            assert any(word in option.opts for option in options), word
        elif isinstance(command, click.Group):
            context = click.Context(command)
            # `backup NAME` is short for `backup make NAME`
            found = command.get_command(context, word) or command.get_command(context, "make")
            assert found is not None, word
            command = found


def test_files_and_headings_that_the_documents_name_are_there() -> None:
    for document in DOCUMENTS:
        for target, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", document.read_text()):
            file = document.parent / target if target else document
            assert file.exists(), (document.name, target)
            assert not anchor or anchor in anchors(file), (document.name, target, anchor)
    for test in re.findall(r"`(tests/\S+\.py)`", (ROOT / "docs" / "failures.md").read_text()):
        assert (ROOT / test).is_file(), test


def test_the_architecture_names_files_that_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in re.findall(
        r"`((?:ingest|processor|query|stanzalake|devstack|tests)/[\w/.]+)`", text
    ):
        assert (ROOT / path).exists(), path


def test_each_decision_has_the_next_number() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    headings = [page.read_text().partition(". ")[0] for page in pages]
    assert headings == [f"# {number}" for number in range(1, len(pages) + 1)]
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))

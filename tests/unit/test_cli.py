"""Commands load only what they use."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from stanzalake.cli import manual
from stanzalake.cli.main import cli
from stanzalake.cli.parameters import JID_TYPE, OWNER
from tests.support.settings import REQUIRED

SHARE = Path(__file__).parents[2] / "share"
ENGINES = ("faust", "chdb", "slixmpp", "aiokafka", "sqlalchemy")
SLOW = (*ENGINES, "clickhouse_connect", "aiohttp", "pydantic", "rich")
COMMANDS = cli.list_commands(click.Context(cli))


def loaded(*arguments: str, **environment: str) -> set[str]:
    """Run the command line in a process of its own; return the packages it has imported."""
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))\n"
        "from stanzalake.cli.main import main\n"
        f"sys.argv = {['stanzalake', *arguments]}\n"
        "main()\n"
    )
    result = run(script, **environment)
    assert result.stdout
    return packages(result.stderr)


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize(("command", "niceness"), [("up", 0), ("export", 0), ("delete", 10)])
def test_removals_give_way_to_services(command: str, niceness: int) -> None:
    script = (
        "import atexit, os, sys\n"
        "atexit.register(lambda: print('niceness', os.nice(0)))\n"
        "from stanzalake.cli.main import main\n"
        f"sys.argv = ['stanzalake', {command!r}, '--help']\n"
        "main()\n"
    )
    assert f"niceness {max(os.nice(0), niceness)}\n" in run(script).stdout


def packages(modules: str) -> set[str]:
    return {name.partition(".")[0] for name in modules.splitlines()}


def completion(*words: str) -> dict[str, str]:
    return {
        "_STANZALAKE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("stanzalake", *words)),
        "COMP_CWORD": str(len(words)),
    }


def test_help_and_completion_of_commands_import_no_command() -> None:
    assert not loaded("--help") & {*SLOW}
    assert not loaded(**completion("st")) & {*SLOW}


def test_settings_import_nothing_but_the_settings() -> None:
    assert not loaded("settings", "--help") & {*SLOW} - {"pydantic"}


def test_a_command_on_the_embedded_store_imports_the_engine_alone(tmp_path: Path) -> None:
    settings = {**REQUIRED, "STANZALAKE_DATA_DIR": str(tmp_path / "data")}
    imported = loaded("migrate", **settings)
    assert "chdb" in imported
    assert not imported & {"aiohttp", "faust", "slixmpp", "aiokafka", "pyarrow", "numpy", "pandas"}


def test_completion_of_options_imports_no_engine() -> None:
    script = (
        "import click, sys\n"
        "from stanzalake.cli.main import cli\n"
        "context = click.Context(cli)\n"
        "commands = [cli.get_command(context, name) for name in cli.list_commands(context)]\n"
        "print(*sys.modules, sep='\\n')"
    )
    assert not packages(run(script).stdout) & {*ENGINES}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_of_commands_has_the_first_sentence_of_each(command: str) -> None:
    context = click.Context(cli)
    found = cli.get_command(context, command)
    assert found is not None
    text = " ".join(cli.get_help(context).split())
    assert f"{command} {found.get_short_help_str(300)}" in text


def test_manual_pages_and_completion_scripts_are_up_to_date() -> None:
    """`make manual` writes them."""
    written = {str(f.relative_to(SHARE)): f.read_text() for f in SHARE.rglob("*") if f.is_file()}
    assert dict(manual.files()) == written, "run `make manual`"


@pytest.mark.parametrize("page", sorted((SHARE / "man" / "man1").iterdir()), ids=lambda p: p.name)
def test_a_manual_page_formats_without_warnings(page: Path) -> None:
    command = ["groff", "-k", "-man", "-Tutf8", "-ww", str(page)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # ours
    assert result.stderr == ""
    assert "Stanzalake manual" in result.stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("stanzalake sta", ["status", "stats"]),
        ("stanzalake stats --d", ["--days"]),
        ("stanzalake x", []),
    ],
)
def test_bash_completes_commands_and_options(words: str, completed: list[str]) -> None:
    script = (
        f"source {SHARE / 'bash-completion/completions/stanzalake'}\n"
        f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        "_stanzalake_completion stanzalake\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    result = subprocess.run(  # noqa: S603  # our own
        ["bash", "-c", script],  # noqa: S607  # wherever it is installed
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == completed


@pytest.mark.parametrize("text", ["romeo@montague.lit ", "romeo@montague.lit\n", "a@b\tc"])
def test_a_jid_that_was_pasted_with_white_space_is_refused(text: str) -> None:
    """Prosody takes such a domain, so nothing would be found, and nothing erased."""
    for kind in (OWNER, JID_TYPE):
        with pytest.raises(click.BadParameter, match="white space"):
            kind.convert(text, None, None)

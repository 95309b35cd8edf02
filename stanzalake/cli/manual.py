"""Manual pages and completion scripts, generated from the commands.

`python -m stanzalake.cli.manual` writes the files of share/, which packages install.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from stanzalake.cli import completion
from stanzalake.cli.main import cli
from stanzalake.config import settings

_COMPLETIONS = {
    "bash": "bash-completion/completions/stanzalake",
    "zsh": "zsh/site-functions/_stanzalake",
    "fish": "fish/vendor_completions.d/stanzalake.fish",
}


def files() -> Iterator[tuple[str, str]]:
    """Yield the path of each file below share/, and its content."""
    for shell, path in _COMPLETIONS.items():
        yield path, completion.script(cli, shell).strip() + "\n"
    context = click.Context(cli, info_name="stanzalake")
    yield "man/man1/stanzalake.1", _main_page(context)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command is not None:
            child = click.Context(command, parent=context, info_name=name)
            yield f"man/man1/stanzalake-{name}.1", _command_page(child)


def _main_page(context: click.Context) -> str:
    lines = [
        _title("stanzalake"),
        *_name("stanzalake", "message archive of Prosody"),
        *_synopsis(context),
        *_description(context.command),
        *_options(context),
        ".SH COMMANDS",
    ]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command is not None:
            lines += [".TP", f".BR stanzalake-{_text(name)} (1)", _summary(command)]
    lines += [".SH ENVIRONMENT"]
    for name, default, text in settings.variables():
        lines += [".TP", f".B {_text(name)}", _text(f"{text} [{default}]")]
    return "\n".join(lines) + "\n"


def _command_page(context: click.Context) -> str:
    name = context.command_path.replace(" ", "-")
    lines = [
        _title(name),
        *_name(name, _summary(context.command)),
        *_synopsis(context),
        *_description(context.command),
        *_options(context),
    ]
    if isinstance(context.command, click.Group):
        lines += _subcommands(context.command, context)
    lines += [".SH SEE ALSO", ".BR stanzalake (1)"]
    return "\n".join(lines) + "\n"


def _subcommands(group: click.Group, context: click.Context) -> Iterator[str]:
    yield ".SH SUBCOMMANDS"
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None:
            child = click.Context(command, parent=context, info_name=name)
            usage = " ".join(command.collect_usage_pieces(child))
            yield f".SS {_text(f'{context.command_path} {name} {usage}')}"
            yield from _paragraphs(command.help or "")
            yield from _option_list(child)


def _title(name: str) -> str:
    return f'.TH {_text(name.upper())} 1 "" stanzalake "Stanzalake manual"'


def _name(name: str, summary: str) -> Iterator[str]:
    yield ".SH NAME"
    yield f"{_text(name)} \\- {summary}"


def _synopsis(context: click.Context) -> Iterator[str]:
    yield ".SH SYNOPSIS"
    yield f".B {_text(context.command_path)}"
    yield _text(" ".join(context.command.collect_usage_pieces(context)))


def _description(command: click.Command) -> Iterator[str]:
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help or "")
    if command.epilog and command.name != "settings":  # its epilog is the main page's environment
        yield from _paragraphs(command.epilog)


def _options(context: click.Context) -> Iterator[str]:
    yield ".SH OPTIONS"
    yield from _option_list(context)


def _option_list(context: click.Context) -> Iterator[str]:
    for parameter in context.command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            names, text = record
            yield from (".TP", f".B {_text(names)}", _text(text))
    yield from (".TP", f".B {_text('-h, --help')}", "Show the help and exit.")


def _paragraphs(text: str) -> Iterator[str]:
    """Format help; click marks paragraphs whose lines are kept by a backspace."""
    for paragraph in text.strip().split("\n\n"):
        yield ".PP"
        if paragraph.startswith("\b"):
            yield ".nf"
            yield from map(_text, paragraph.split("\n")[1:])
            yield ".fi"
        else:
            yield _text(" ".join(paragraph.split()))


def _summary(command: click.Command) -> str:
    return _text(command.get_short_help_str(300).removesuffix("."))


def _text(text: str) -> str:
    """Escape text for troff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main() -> None:
    """Write all files below the directory in the first argument."""
    for name, text in files():
        path = Path(sys.argv[1]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()

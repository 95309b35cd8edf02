"""A command group that imports the module of a command only when the command is used."""

import importlib
from collections.abc import Mapping

import click
from click.shell_completion import CompletionItem

Sections = Mapping[str, Mapping[str, str]]
"""First sentences of the commands' help by name, by the title of their section."""

_PACKAGE = "stanzalake.cli"
_KEYWORDS = {"import": "import_"}


def _module_of(name: str) -> str:
    return _KEYWORDS.get(name, name.replace("-", "_"))


class LazyGroup(click.Group):
    """Lists the commands by topic, without importing them.

    Args:
        sections: The commands; each is `command` in the module of its name.
    """

    def __init__(self, *args: object, sections: Sections, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # click's own
        self._sections = sections
        self._summaries = {n: text for names in sections.values() for n, text in names.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return sorted({*self._summaries, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._summaries:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f"{_PACKAGE}.{_module_of(cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of the help."""
        for title, summaries in self._sections.items():
            with formatter.section(title):
                formatter.write_dl(list(summaries.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command, or an option."""
        names = [name for name in self._summaries if name.startswith(incomplete)]
        items = [CompletionItem(name, help=self._summaries[name]) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)

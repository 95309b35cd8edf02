"""`stanzalake completion`: prints a shell's completion script."""

import click
from click.shell_completion import get_completion_class

_PROGRAM = "stanzalake"
_VARIABLE = "_STANZALAKE_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


def script(group: click.Command, shell: str) -> str:
    """Return the completion script of a shell.

    Args:
        group: The command line.
        shell: One of SHELLS.
    """
    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101  # click has all of SHELLS
    return completion(group, {}, _PROGRAM, _VARIABLE).source()


@click.command(name="completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For example, in ~/.bashrc: source <(stanzalake completion bash)
    """
    click.echo(script(context.find_root().command, shell))

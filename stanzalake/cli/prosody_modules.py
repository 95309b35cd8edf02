"""`stanzalake prosody-modules`: locates or installs the modules of Prosody."""

from pathlib import Path

import click

from stanzalake.operations import shipped


@click.command(name="prosody-modules")
@click.option(
    "--install",
    "target",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Copy them into this directory, over those of an older version.",
)
def command(target: Path | None) -> None:
    """Show where Prosody's modules are, or install them in DIR.

    Prosody finds them by `plugin_paths` in its configuration. A running Prosody goes on with the
    version that it has loaded until it is restarted.
    """
    if target is None:
        click.echo(shipped.directory("prosody"))
        return
    for module in shipped.install_modules(target):
        click.echo(module)

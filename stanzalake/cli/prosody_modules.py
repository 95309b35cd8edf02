"""`stanzalake prosody-modules`: locates or installs the modules of Prosody."""

from pathlib import Path

import click

from stanzalake.operations import rock, shipped


@click.command(name="prosody-modules")
@click.option(
    "--install",
    "target",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Copy them into this directory, over those of an older version.",
)
@click.option(
    "--rock",
    "rock_target",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write them into this directory as a file for `prosodyctl install`.",
)
def command(target: Path | None, rock_target: Path | None) -> None:
    """Show where Prosody's modules are, or install them in DIR.

    Prosody finds them by `plugin_paths` in its configuration. A running Prosody goes on with the
    version that it has loaded until it is restarted.

    Instead of that, `prosodyctl install FILE` takes the file of --rock, and `prosodyctl list` and
    `remove` know it from then on; it needs Debian's packages luarocks and unzip.
    """
    if rock_target is not None:
        click.echo(rock.write_rock(rock_target))
    elif target is None:
        click.echo(shipped.directory("prosody"))
    else:
        for module in shipped.install_modules(target):
            click.echo(module)

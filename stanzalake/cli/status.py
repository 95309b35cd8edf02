"""`stanzalake status`: shows the state of a running service in a terminal."""

import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import click
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.errors import ServiceUnavailable, SettingsError
from stanzalake.observability.interrupts import raise_interrupts
from stanzalake.observability.status import Status
from stanzalake.observability.status_page import Rows, sections

_FAILED = 1
_TIMEOUT = 10.0
_WATCH_SECONDS = 2.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # addresses to connect to instead
_STYLES = {"up": "green", "down": "bold red"}


@click.command(name="status")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print the status as a JSON object.")
@click.pass_obj
def command(env_file: Path | None, *, watch: bool, as_json: bool) -> None:
    """Show what a running service does: its parts, traffic, archive and journals.

    Asks the service at STANZALAKE_HTTP_ADDRESS, which shows the same as a page to browsers. Names
    no user.

    Status 1 if no service answers there, or a part of it does not work.
    """
    url = _url(settings.load(env_file=env_file))
    if watch:
        _watch(url)
        return
    body = _fetch(url)
    status = _decode(body, url)
    if as_json:
        click.echo(body)
    else:
        Console(highlight=False).print(_render(status))
    if not status.up:
        sys.exit(_FAILED)


def _url(values: Settings) -> str:
    if not values.http:
        raise SettingsError("STANZALAKE_HTTP_ADDRESS is not set: nobody serves a status")
    [(host, port)] = values.http
    host = _EVERYWHERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/status.json"


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310  # the setting's
            body: bytes = answer.read()
            return body
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise ServiceUnavailable(f"no service answers at {url}: {reason}") from None


def _decode(body: bytes, url: str) -> Status:
    try:
        return msgspec.json.decode(body, type=Status)
    except msgspec.MsgspecError:
        raise ServiceUnavailable(f"another program, or another version, answers at {url}") from None


def _watch(url: str) -> None:
    screen = Live(console=Console(highlight=False), screen=True)
    with suppress(KeyboardInterrupt), raise_interrupts(), screen as live:
        while True:
            try:
                live.update(_render(_decode(_fetch(url), url)))
            except ServiceUnavailable as error:
                live.update(Text(str(error), "red"))
            time.sleep(_WATCH_SECONDS)


def _render(status: Status) -> Group:
    return Group(*(_table(title, rows) for title, rows in sections(status)))


def _table(title: str, rows: Rows) -> Table:
    table = Table(title=title, title_justify="left", box=None, show_header=False)
    table.title_style = "bold"
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, Text(value, _STYLES.get(value, "")))
    return table

"""Waits until removed messages are off the disk, which takes longer than hiding them."""

import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from stanzalake.store.deletion import Deletion

_POLL_SECONDS = 0.5


def wait_until_clean(deletion: Deletion) -> None:
    """Wait for mutations to finish, and for ClickHouse to delete the parts they replaced.

    ClickHouse keeps replaced parts for about a minute, longer when idle. Shows a progress bar on
    a terminal. Ctrl-C ends only the wait.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("ClickHouse rewrites parts", total=None)
        for left in _poll(deletion.rewriting):
            progress.update(task, description=f"ClickHouse rewrites parts, {left} left")
        doomed = deletion.replaced()
        progress.update(task, description="ClickHouse deletes the old parts", total=len(doomed))
        for left in _poll(lambda: len(doomed & deletion.replaced())):
            progress.update(task, completed=len(doomed) - left)


def _poll(count: Callable[[], int]) -> Iterator[int]:
    """Yield the count until none are left."""
    while left := count():
        yield left
        time.sleep(_POLL_SECONDS)

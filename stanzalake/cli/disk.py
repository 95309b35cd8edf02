"""Waits until removed messages are off the disk, which takes longer than hiding them."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from stanzalake.store.deletion import Deletion, Part

_POLL_SECONDS = 0.5


def wait_until_clean(deletion: Deletion, doomed: frozenset[Part], now: float) -> None:
    """Have the rows removed that are due, and wait until the parts that held them are deleted.

    ClickHouse keeps replaced parts for about a minute, longer when idle. Shows a progress bar on
    a terminal. Ctrl-C ends only the wait.

    Args:
        deletion: Removal of rows.
        doomed: The parts that held rows to remove, from before.
        now: Moment by which messages have expired, in unix seconds.

    Raises:
        StoreUnavailable: No answer, or ClickHouse cannot rewrite a part.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("ClickHouse rewrites parts", total=None)
        while deletion.step(now):
            left = deletion.rewrites()
            progress.update(task, description=f"ClickHouse rewrites parts, {left} left")
            time.sleep(_POLL_SECONDS)
        progress.update(task, description="ClickHouse deletes the old parts", total=len(doomed))
        while left := deletion.on_disk(doomed):
            progress.update(task, completed=len(doomed) - left)
            time.sleep(_POLL_SECONDS)

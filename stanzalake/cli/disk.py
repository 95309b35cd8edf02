"""The wait for the disk: what was removed leaves it a while after readers stopped seeing it."""

import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from stanzalake.store.deletion import Deletion

_POLL_SECONDS = 0.5


def wait_until_clean(deletion: Deletion) -> None:
    """Wait for the rewrites, and then until the parts that they replaced are deleted.

    ClickHouse keeps those for about a minute, and looks for them less often when it is idle.
    Shows a progress bar on a terminal. Ctrl-C ends the wait, and nothing else.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("ClickHouse rewrites parts", total=None)
        for left in _down(deletion.rewriting):
            progress.update(task, description=f"ClickHouse rewrites parts, {left} left")
        doomed = deletion.replaced()
        progress.update(task, description="it deletes the old ones", total=len(doomed))
        for left in _down(lambda: len(doomed & deletion.replaced())):
            progress.update(task, completed=len(doomed) - left)


def _down(count: Callable[[], int]) -> Iterator[int]:
    while left := count():
        yield left
        time.sleep(_POLL_SECONDS)

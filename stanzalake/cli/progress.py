"""Progress on standard error, if that is a terminal."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_AVERAGED_SECONDS = 120.0
"""Rate and remaining time are averages, so that they stay steady."""


class RateColumn(ProgressColumn):
    """Shows the completed steps per second."""

    def render(self, task: Task) -> Text:
        """Format the rate."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


def progress() -> Progress:
    """Return a display of tasks with count, rate and remaining time."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        speed_estimate_period=_AVERAGED_SECONDS,
        transient=True,
    )

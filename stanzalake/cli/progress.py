"""Progress on standard error, if that is a terminal."""

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_AVERAGED_SECONDS = 120.0
"""Rate and remaining time are averages, so that they stay steady."""
_UPDATE_SECONDS = 0.25
"""Minimum time between two updates. Rich averages the last 1,000: of an update for each row, those
of the last page."""


class RateColumn(ProgressColumn):
    """Shows the completed steps per second."""

    def render(self, task: Task) -> Text:
        """Format the rate."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


class SteadyProgress(Progress):
    """A display that takes any number of updates, and shows the last ones a moment later."""

    _next = 0.0

    def update(self, task_id: TaskID, **fields: Any) -> None:
        """Update a task, unless that was done just now; as rich's method does otherwise."""
        now = self.get_time()
        if now >= self._next:
            self._next = now + _UPDATE_SECONDS
            super().update(task_id, **fields)


def progress() -> SteadyProgress:
    """Return a display with count, rate and remaining time, for one task at a time."""
    console = Console(stderr=True)
    return SteadyProgress(
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

"""Pace: how often something may happen that costs a part in the store."""

from collections.abc import Callable


class Pace:
    """A token bucket: one step for each interval, and a few in a row after a quiet time.

    Args:
        interval: Gives the seconds between steps.
        clock: Monotonic time in seconds.
        burst: Steps in a row.
    """

    def __init__(
        self, interval: Callable[[], float], clock: Callable[[], float], burst: float
    ) -> None:
        self._interval = interval
        self._clock = clock
        self._burst = burst
        self._tokens = burst
        self._at = clock()

    def wait(self) -> float:
        """Return the seconds until a step is allowed; 0 if one is now."""
        self._refill()
        return max(0.0, (1 - self._tokens) * self._interval())

    def count(self) -> None:
        """Count a step, also one that was not allowed: later ones wait for it."""
        self._refill()
        self._tokens = max(-self._burst, self._tokens - 1)

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) / self._interval())
        self._at = now

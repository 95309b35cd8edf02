"""Programs that a test starts, and that end with it."""

from typing import Protocol

from devstack.process import S


class Run(Protocol):
    """Starts a part of a deployment; it is stopped when the test ends, however that does."""

    async def __call__(self, part: S) -> S:
        """Start it, and give it back."""

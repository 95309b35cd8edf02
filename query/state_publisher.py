"""State publishers: changes of an owner's state go into the log as events."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from query.request import Request
from stanzalake.log.base import EVENTS, Entry, Log
from stanzalake.model.event import VERSION, Activation, DefaultChoice, Erasure, Preferences, encode
from stanzalake.model.history import History, merge
from stanzalake.model.page import Archive
from stanzalake.model.position import from_milliseconds

_DEFAULTS: Mapping[str, DefaultChoice] = {"false": "never", "roster": "roster", "true": "always"}


def _now() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class StatePublisher:
    """Publishes changes of an owner's state under the position of a request.

    Once a method returns, the change is in force for later messages: they follow in the log, too.

    Attributes:
        owner: Bare JID of the archive.
        position: Position of the request among the owner's events.
        default: The server's default for owners without preferences.
        log: The log to append to.
    """

    owner: str
    position: int
    default: DefaultChoice
    log: Log

    async def prefer(
        self, default: DefaultChoice, always: Sequence[str], never: Sequence[str]
    ) -> Preferences:
        """Publish preferences.

        Raises:
            LogUnavailable: They may or may not be in the log: publish again.
        """
        preferences = Preferences(
            v=VERSION,
            owner=self.owner,
            position=self.position,
            default=default,
            always=tuple(always),
            never=tuple(never),
        )
        await self._publish(preferences)
        return preferences

    async def activate(self) -> Activation:
        """Publish that the owner asked for the archive.

        Raises:
            LogUnavailable: The activation may or may not be in the log: publish again.
        """
        activation = Activation(v=VERSION, owner=self.owner, position=self.position)
        await self._publish(activation)
        return activation

    async def _publish(self, state: Preferences | Activation) -> None:
        await self.log.append(EVENTS, [Entry(self.owner, encode(state))])


class StatePublishers:
    """Makes publishers for requests, and activates archives under smart archiving.

    Args:
        log: The log to append to.
        policy: The server's policy for owners without preferences.
        smart: Whether archives begin only with their owners' first request.
        clock: Returns the unix time in milliseconds, for requests without a position.
    """

    def __init__(
        self,
        log: Log,
        policy: Literal["false", "roster", "true"],
        smart: bool,
        clock: Callable[[], int] = _now,
    ) -> None:
        self._log = log
        self._default = _DEFAULTS[policy]
        self._smart = smart
        self._clock = clock
        self._last = 0

    def of(self, request: Request) -> StatePublisher:
        """Make the publisher of a request."""
        position = self._next() if request.position is None else request.position
        return StatePublisher(request.owner, position, self._default, self._log)

    async def activate(self, publisher: StatePublisher, archive: Archive) -> History | None:
        """Activate an owner's archive, unless already active.

        Returns:
            The history with the activation; None without smart archiving.

        Raises:
            LogUnavailable: The activation may or may not be in the log: ask again.
            StoreUnavailable: The store did not answer this time.
        """
        if not self._smart:
            return None
        # Not cached: the account may have been removed, and made anew, since.
        history = await archive.history()
        if all(isinstance(state, Erasure) for state in history):
            return merge(history, [await publisher.activate()])
        return history

    def _next(self) -> int:
        """Give a position of our own, for hosts that assign none: increasing, like the tap's."""
        self._last = max(from_milliseconds(self._clock()), self._last + 1)
        return self._last

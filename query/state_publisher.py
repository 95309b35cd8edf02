"""The voice of an owner: what a request says for its archive goes into the log as an event."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from query.delegation import Request
from stanzalake.log.base import EVENTS, Entry, Log
from stanzalake.model.event import VERSION, Activation, DefaultChoice, Erasure, Preferences, encode
from stanzalake.model.page import Archive
from stanzalake.model.position import from_milliseconds

_DEFAULTS: Mapping[str, DefaultChoice] = {"false": "never", "roster": "roster", "true": "always"}


def _now() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class StatePublisher:
    """One request's voice.

    What is said is in force for messages behind the request once a method returns: they come
    behind it in the log, too.

    Attributes:
        owner: Whose it is.
        position: The request's place among the owner's events.
        default: What the server keeps of owners who said nothing.
        log: Where it is heard.
    """

    owner: str
    position: int
    default: DefaultChoice
    log: Log

    async def prefer(
        self, default: DefaultChoice, always: Sequence[str], never: Sequence[str]
    ) -> None:
        """Say which messages are to be kept.

        Raises:
            LogUnavailable: It may or may not have been heard: say it again.
        """
        await self._say(
            Preferences(
                v=VERSION,
                owner=self.owner,
                position=self.position,
                default=default,
                always=tuple(always),
                never=tuple(never),
            )
        )

    async def activate(self) -> None:
        """Say that the archive is asked for.

        Raises:
            LogUnavailable: It may or may not have been heard: say it again.
        """
        await self._say(Activation(v=VERSION, owner=self.owner, position=self.position))

    async def _say(self, state: Preferences | Activation) -> None:
        await self.log.append(EVENTS, [Entry(self.owner, encode(state))])


class StatePublishers:
    """Gives requests their voices, and begins archives under smart archiving.

    Args:
        log: Where they are heard.
        policy: What the server keeps of owners who said nothing.
        smart: Whether an archive begins only when its owner asks for it.
        clock: Gives the unix time in milliseconds, for requests that have no position.
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
        """Give a request its voice."""
        position = self._next() if request.position is None else request.position
        return StatePublisher(request.owner, position, self._default, self._log)

    async def activate(self, publisher: StatePublisher, archive: Archive) -> None:
        """Begin an owner's archive, unless it has begun or always does.

        Raises:
            LogUnavailable: It may or may not have begun: ask again.
            StoreUnavailable: The store did not answer this time.
        """
        if not self._smart:
            return
        # Not remembered: the account may have been removed, and made anew, since.
        if all(isinstance(state, Erasure) for state in await archive.history()):
            await publisher.activate()

    def _next(self) -> int:
        """Give a position of our own, for hosts that stamp none: increasing, like the tap's."""
        self._last = max(from_milliseconds(self._clock()), self._last + 1)
        return self._last

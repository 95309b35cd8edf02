"""Erasure on an operator's word: from the event in the log to the bytes off the disk."""

import asyncio
import time
from collections.abc import Callable

from stanzalake.config.settings import Settings
from stanzalake.errors import LogUnavailable
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, Entry
from stanzalake.model.event import VERSION, Erasure, decode, encode
from stanzalake.model.position import MAX_POSITION, from_milliseconds
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion, MessageSummary
from stanzalake.store.erasures import Erasures

_POLL_SECONDS = 0.2


class Eraser:
    """Erases from the archives that the settings describe. Its calls block.

    Args:
        settings: All settings.
        store: The store, for a user that may change it.
        clock: Gives the unix time in seconds.
    """

    def __init__(
        self, settings: Settings, store: Store, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._erasures = Erasures(store)
        self.deletion = Deletion.of(store, settings)
        self._clock = clock

    def plan(self, owner: str, peer: str, start: int, end: int | None, by: str) -> Erasure:
        """Give the erasure of an owner's messages.

        Args:
            owner: Whose archive; a bare JID.
            peer: Only those with this bare JID; empty for everybody.
            start: Only those from here on, unix milliseconds.
            end: Only those before it, unix milliseconds; None for all until now.
            by: Who asks for it.
        """
        # Imported messages and those of a fast clock may lie ahead of this machine's.
        newest = self.deletion.covered([_erasure(owner, MAX_POSITION, 0, MAX_POSITION)]).last
        position = max(from_milliseconds(int(self._clock() * 1000)), newest + 1)
        until = position if end is None else min(from_milliseconds(end), position)
        return _erasure(owner, position, from_milliseconds(start), until, peer, by)

    def covered(self, erasure: Erasure) -> MessageSummary:
        """Give what an erasure covers that readers still see."""
        return self.deletion.covered([erasure])

    def say(self, erasure: Erasure) -> None:
        """Put it into the log, where the processor finds it.

        Raises:
            InvalidEvent: No processor would take it.
            LogUnavailable: It may or may not be there: say it again.
        """
        decode(encode(erasure))
        asyncio.run(self._say(erasure))

    def carried_out(self, erasure: Erasure, within: float) -> bool:
        """Wait until a processor has done it: no reader sees anything of it, now or later.

        Args:
            erasure: What was said.
            within: Seconds to wait at most.
        """
        deadline = time.monotonic() + within
        while not self._is_carried_out(erasure):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _is_carried_out(self, erasure: Erasure) -> bool:
        known = self._erasures.read([erasure.owner]).get(erasure.owner, ())
        recorded = any(one.position == erasure.position for one in known)
        return recorded and not self.covered(erasure).messages

    async def _say(self, erasure: Erasure) -> None:
        file = opening.local_file(self._settings)
        if not self._settings.kafka_bootstrap_servers and not file.is_file():
            raise LogUnavailable(f"there is no log {file}: STANZALAKE_DATA_DIR says where it is")
        async with opening.open_log(self._settings) as log:
            await log.append(EVENTS, [Entry(erasure.owner, encode(erasure))])


def _erasure(  # noqa: PLR0913, PLR0917  # the parts of the event
    owner: str, position: int, start: int, end: int, peer: str = "", by: str = ""
) -> Erasure:
    return Erasure(
        v=VERSION, owner=owner, position=position, peer=peer, start=start, end=end, by=by
    )

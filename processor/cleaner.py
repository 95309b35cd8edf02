"""The cleaner: removal of expired and erased messages from the disk, beside the loop."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from stanzalake.config.settings import Settings
from stanzalake.errors import StanzalakeError
from stanzalake.observability.log_once import LogOnce
from stanzalake.observability.metrics import CLEANUP_INTERVAL, LAST_CLEANUP
from stanzalake.store.aggregates import Aggregates
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.erasures import Erasures

T = TypeVar("T")

log = logging.getLogger(__name__)

_BETWEEN_SECONDS = 10.0
"""Minimum time between clean-ups, however many are requested."""
_PAUSE_SECONDS = 1.0
_QUIET_SECONDS = 86_400.0
"""Age of the newest message from which on nothing shows that the clock is right."""
_AGGREGATION_SECONDS = 3600.0
"""Time between computations of the analysts' aggregates, if the interval is not shorter."""


class Cleaner:
    """Has ClickHouse remove rows once per interval, the first time at the start of the worker.

    A failed clean-up is logged and repeated after the interval; archiving goes on.

    Args:
        settings: Retention of messages and of the log, and the interval.
        store: The store.
        clock: Returns the unix time in seconds.
        elapsed: Returns monotonic time in seconds: no step of the clock puts a clean-up off.

    Attributes:
        regular: Whether this worker keeps the interval; a single worker is enough.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = settings.cleanup_interval
        CLEANUP_INTERVAL.set(self._interval)
        self._every = min(self._interval, _AGGREGATION_SECONDS)
        self._deletion = Deletion.of(store, settings)
        self._erasures = None if settings.clickhouse_cluster else Erasures(store)
        self._aggregates = Aggregates(store, settings.clickhouse_cluster, settings.retention)
        self._clock = clock
        self._elapsed = elapsed
        self._last = -math.inf
        self._last_aggregation = -math.inf
        self._requested = False
        self._failure = LogOnce(__name__)
        self._doubt = LogOnce(__name__)
        self._doubted_since = math.inf
        self._thread = ThreadPoolExecutor(1, "cleaner")
        self.regular = False

    def request(self) -> None:
        """Request a clean-up soon, whichever worker keeps the interval."""
        self._requested = True

    def is_due(self) -> bool:
        """Return whether to clean up now."""
        since = self._elapsed() - self._last
        return (self._requested and since >= _BETWEEN_SECONDS) or (
            self.regular and since >= self._interval
        )

    def is_aggregation_due(self) -> bool:
        """Return whether to compute the analysts' aggregates now: hourly or in each interval."""
        return self.regular and self._elapsed() - self._last_aggregation >= self._every

    async def run(self, stop: asyncio.Event) -> None:
        """Clean up whenever due, until `stop` is set."""
        try:
            while not stop.is_set():
                await self._maintain(stop)
                await _wait(stop, _PAUSE_SECONDS)
        finally:
            # The store is closed after this: no thread may still use it.
            await asyncio.to_thread(self._thread.shutdown)

    async def clean(self, stop: asyncio.Event) -> None:
        """Remove the rows that are due, step by step; ends early once `stop` is set.

        Raises:
            StanzalakeError: The store does not remove them for now.
        """
        now = self._clock()
        self._last, self._requested = self._elapsed(), False
        await self._call(partial(self._confirm, now))
        shown = await self._call(partial(self._shown, now))
        if shown < now:
            # Soon again: the messages of an outage may be on their way.
            self._last += min(0.0, _AGGREGATION_SECONDS - self._interval)
        while await self._call(partial(self._deletion.step, shown, own=shown == now)):
            if stop.is_set():
                return
            await _wait(stop, _PAUSE_SECONDS)
        LAST_CLEANUP.set(now)

    async def aggregate(self, stop: asyncio.Event) -> None:
        """Compute the aggregates of changed days and months; ends early once `stop` is set.

        Raises:
            StanzalakeError: The store does not answer for now.
        """
        now = self._clock()
        self._last_aggregation = self._elapsed()
        aggregates = self._aggregates
        for month in await self._call(aggregates.due_months):
            if stop.is_set():
                return
            await self._call(partial(aggregates.compute_month, month))
        for days in await self._call(lambda: [*aggregates.batches(aggregates.due(now))]):
            if stop.is_set():
                return
            await self._call(partial(aggregates.compute, days))
        await self._call(partial(aggregates.remove_former, now))
        await self._call(partial(aggregates.read_recent, now))

    async def _maintain(self, stop: asyncio.Event) -> None:
        try:
            if self._erasures is not None:
                await self._call(self._erasures.complete)
            if self.is_due():
                await self.clean(stop)
            if self.is_aggregation_due():
                await self.aggregate(stop)
        except StanzalakeError as error:
            self._failure.begin(f"the clean-up of the store is put off: {error}")
        else:
            self._failure.end()

    def _shown(self, now: float) -> float:
        """Return the moment up to which messages show that the clock is not ahead.

        A clock that is ahead would expire messages for good. One that nobody has set right within
        an interval is trusted: bytes have to leave an archive that nobody writes to as well.
        """
        newest = self._deletion.newest() if self._deletion.expires() else 0
        if not newest or now - newest <= _QUIET_SECONDS:
            self._doubted_since = math.inf
            self._doubt.end()
            return now
        self._doubted_since = min(self._doubted_since, self._elapsed())
        if self._elapsed() - self._doubted_since >= self._interval:
            return now
        self._doubt.begin(
            f"no message is newer than {datetime.fromtimestamp(newest, UTC):%Y-%m-%d}, as if the "
            "clock were ahead: what has expired since is removed once there is a newer one, by "
            "`stanzalake expire`, or after PROSODY_ARCHIVE_CLEANUP_INTERVAL"
        )
        return newest + _QUIET_SECONDS

    def _confirm(self, now: float) -> None:
        """Confirm a shorter retention if nothing is lost by it; else say how much waits."""
        waiting = self._deletion.waiting(now)
        if not waiting.total:
            self._deletion.confirm()
            return
        log.warning(
            "the retention was shortened: %d messages are hidden, but not removed before an "
            "operator confirms it by `stanzalake expire`",
            waiting.total,
        )

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return

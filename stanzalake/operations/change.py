"""Changes of an archive by an operator: appended to the log as events, applied by a processor."""

import asyncio
import time
from collections.abc import Callable

from stanzalake.config.settings import Settings
from stanzalake.errors import LogUnavailable
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, Entry
from stanzalake.model.event import Erasure, OwnRetention, decode, encode
from stanzalake.store.changes import HEEDED_WITHIN, Changes
from stanzalake.store.client import Store

_POLL_SECONDS = 0.1


def apply(
    settings: Settings,
    store: Store,
    event: Erasure | OwnRetention,
    is_in_force: Callable[[], bool],
    timeout: float,
) -> bool:
    """Append an event to the log, and wait until every reader heeds it. Blocks.

    Args:
        settings: All settings.
        store: The store, as a user that may write announcements.
        event: What hides messages.
        is_in_force: Returns whether a processor has applied the event.
        timeout: Seconds to wait for that.

    Returns:
        False on timeout; the next processor to run applies the event.

    Raises:
        InvalidEvent: A processor would reject the event.
        LogUnavailable: May or may not have been appended; appending again is safe.
    """
    decode(encode(event))
    # Announced before a processor does, so that readers drop their copies meanwhile.
    with Changes(store).announce({event.owner}):
        heeded = time.monotonic() + HEEDED_WITHIN
        asyncio.run(_append(settings, event))
        applied = _wait(is_in_force, timeout)
        time.sleep(max(0.0, heeded - time.monotonic()))
    return applied


def _wait(is_in_force: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not is_in_force():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


async def _append(settings: Settings, event: Erasure | OwnRetention) -> None:
    file = opening.local_file(settings)
    if not settings.kafka_bootstrap_servers and not file.is_file():
        raise LogUnavailable(f"there is no log {file}: STANZALAKE_DATA_DIR says where it is")
    async with opening.open_log(settings) as log:
        await log.append(EVENTS, [Entry(event.owner, encode(event))])

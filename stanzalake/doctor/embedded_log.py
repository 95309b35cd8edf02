"""Checks the embedded log: the file, its integrity, and the processor's lag."""

import asyncio
from collections.abc import Sequence

from stanzalake.config.settings import Settings
from stanzalake.doctor import data_dir
from stanzalake.doctor.finding import Finding, fault, fine, unknown
from stanzalake.errors import LogDamaged, LogUnavailable
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP
from stanzalake.log.sqlite_file import Error, find_damage

SUBJECT = "log"

_INTEGRITY_SECONDS = 10.0
_RECOVER = (
    "stop stanzalake up and recover the file as docs/operating.md says under Lost and damaged "
    "records; meanwhile Prosody's journal keeps new events"
)


async def check(settings: Settings) -> Sequence[Finding]:
    """Open the file, if it exists and belongs to this user; check its integrity and the lag."""
    file = opening.local_file(settings)
    if not file.exists():
        return [fine(SUBJECT, f"{file} is not there yet: stanzalake up makes it")]
    if not data_dir.usable(settings):
        return [unknown(SUBJECT, f"{file} is not opened: see the data directory")]
    try:
        lag = await _lag(settings)
        damage = await asyncio.to_thread(find_damage, file, _INTEGRITY_SECONDS)
    except LogDamaged as error:
        return [fault(SUBJECT, str(error), _RECOVER)]
    except (LogUnavailable, Error) as error:
        return [fault(SUBJECT, str(error), "free the disk, or mend the rights of the file")]
    if damage:
        return [fault(SUBJECT, f"{file} is damaged: {damage}", _RECOVER)]
    return [fine(SUBJECT, f"{file}, {lag} records to be archived")]


async def _lag(settings: Settings) -> int:
    async with opening.open_log(settings) as log:
        reader = await log.consumer(EVENTS, PROCESSOR_GROUP)
        return sum(reader.lag().values())

"""Checks the embedded log: the file, and the processor's lag."""

from collections.abc import Sequence

from stanzalake.config.settings import Settings
from stanzalake.doctor import data_dir
from stanzalake.doctor.finding import Finding, fault, fine, unknown
from stanzalake.errors import LogUnavailable
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP

SUBJECT = "log"


async def check(settings: Settings) -> Sequence[Finding]:
    """Open the file, if it exists and belongs to this user, and report the lag."""
    file = opening.local_file(settings)
    if not file.exists():
        return [fine(SUBJECT, f"{file} is not there yet: stanzalake up makes it")]
    if not data_dir.usable(settings):
        return [unknown(SUBJECT, f"{file} is not opened: see the data directory")]
    try:
        return [fine(SUBJECT, f"{file}, {await _lag(settings)} records to be archived")]
    except LogUnavailable as error:
        return [
            fault(
                SUBJECT,
                str(error),
                "if the file is damaged, stop stanzalake up and move it away with its -wal and "
                "-shm: Prosody sends again what was not acknowledged",
            )
        ]


async def _lag(settings: Settings) -> int:
    async with opening.open_log(settings) as log:
        reader = await log.consumer(EVENTS, PROCESSOR_GROUP)
        return sum(reader.lag().values())

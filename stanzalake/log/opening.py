"""Opens the log that the settings select: an SQLite file or Kafka."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from stanzalake.config.settings import Settings
from stanzalake.log.base import Log
from stanzalake.log.sqlite import LocalLog


@asynccontextmanager
async def open_log(settings: Settings) -> AsyncIterator[Log]:
    """Open the log for the block.

    Raises:
        LogUnavailable: The brokers or the file cannot be reached.
        LogRefused: Kafka refuses the user, the settings or a topic.
        SettingsError: A certificate file cannot be read.
    """
    log: Log
    if settings.kafka_bootstrap_servers:
        # aiokafka takes longer to load than most commands take to run.
        from stanzalake.log.kafka import connection  # noqa: PLC0415
        from stanzalake.log.kafka.log import KafkaLog  # noqa: PLC0415

        arguments, topics = connection.client_arguments(settings), connection.topics(settings)
        log = await KafkaLog.open(arguments, topics)
    else:
        log = LocalLog(local_file(settings), settings.log_retention)
    try:
        yield log
    finally:
        await log.close()


def local_file(settings: Settings) -> Path:
    """Return the path of the embedded log."""
    return settings.data_dir / "log.sqlite"

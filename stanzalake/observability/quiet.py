"""Loggers of libraries, silenced or limited once by each entry point."""

import logging
import time

_SILENT = (
    # Log whole stanzas or values, bodies included, some at level error.
    "slixmpp",
    "clickhouse_connect",
    "urllib3",
    # Log the state of each component; errors that end the worker are raised by `processor.app`.
    "faust",
    "mode",
)
_LIMITED = ("aiokafka",)
_REPEAT_SECONDS = 60.0

log = logging.getLogger(__name__)


def silence_libraries() -> None:
    """Keep libraries from logging message bodies, states that are no news, and every attempt.

    A level would not last: clickhouse_connect sets the level of urllib3 when it is imported.
    """
    for name in _SILENT:
        _replace_handler(name, logging.NullHandler())
    for name in _LIMITED:
        _replace_handler(name, _RateLimit())


def _replace_handler(name: str, handler: logging.Handler) -> None:
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.handlers = [handler]


class _RateLimit(logging.Handler):
    """Passes each kind of message once a minute, one level lower.

    aiokafka logs at every attempt, and logs as errors failures that it retries.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._passed: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a message on, unless one of its kind was passed within a minute."""
        now = time.monotonic()
        kind = str(record.msg)
        if now - self._passed.get(kind, -_REPEAT_SECONDS) >= _REPEAT_SECONDS:
            self._passed[kind] = now
            log.log(record.levelno - 10, "%s: %s", record.name, record.getMessage())

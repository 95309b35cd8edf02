"""The access log: who asked for whose archive, and how it ended; never what anybody wrote.

One JSON object a line, on whichever file `STANZALAKE_ACCESS_LOG` names. A file that was moved away
is opened anew, so logrotate needs no signal.
"""

import getpass
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler

import msgspec

from stanzalake.config.settings import Settings
from stanzalake.errors import SettingsError
from stanzalake.observability.log_once import LogOnce

STANDARD_ERROR = "-"

_MAX_JID = 3071


@dataclass(kw_only=True)
class Access:
    """One request to an archive, or one deed of an operator.

    Attributes:
        by: Who: the full JID that asked, or ``operator:`` and the name of the user of the system.
        owner: Bare JID whose archive it was about; empty for all archives.
        action: What was asked for: search, form, metadata, export, delete, ...
        through: The component that answered, or the command that was run.
        filtered: Whether only messages with one other party were asked for.
        outcome: How it ended; ``interrupted`` until it has.
        messages: Messages that were given, or removed.
        size: Bytes of their stanzas.
    """

    by: str
    owner: str
    action: str
    through: str
    filtered: bool = False
    outcome: str = "interrupted"
    messages: int = 0
    size: int = 0
    _at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def line(self) -> str:
        """Give its line in the access log."""
        facts = {
            "at": self._at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "by": self.by[:_MAX_JID],
            "owner": self.owner[:_MAX_JID],
            "action": self.action,
            "through": self.through,
            "filtered": self.filtered,
            "outcome": self.outcome,
            "messages": self.messages,
            "bytes": self.size,
            "milliseconds": round(1000 * self.seconds),
        }
        return msgspec.json.encode(facts).decode()


class _File(WatchedFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  # logging's own
        """Leave it to the access log."""
        if error := sys.exception():
            raise error


class AccessLog:
    """Where accesses are written.

    Args:
        place: A file, ``-`` for standard error, or nothing for nowhere.

    Raises:
        SettingsError: The file cannot be written.
    """

    def __init__(self, place: str) -> None:
        self._handler = _handler(place) if place else None
        self._trouble = LogOnce(__name__)

    def write(self, access: Access) -> None:
        """Write one line. A disk that does not take it is told in the process's own log."""
        if self._handler is None:
            return
        try:
            self._handler.emit(logging.makeLogRecord({"msg": access.line()}))
        except OSError as error:
            self._trouble.begin(f"the access log is not written: {error.strerror}", logging.ERROR)
        else:
            self._trouble.end()

    def close(self) -> None:
        """Close the file; what a full disk did not take is lost."""
        if self._handler is not None:
            with suppress(OSError):
                self._handler.close()


def _handler(place: str) -> logging.Handler:
    if place == STANDARD_ERROR:
        return logging.StreamHandler()
    try:
        return _File(place, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"STANZALAKE_ACCESS_LOG={place} cannot be used: {error.strerror}"
        ) from None


@contextmanager
def recorded(settings: Settings, action: str, owner: str = "") -> Iterator[Access]:
    """Record what an operator does to an archive, also if it fails half-way.

    Without an access log the line goes to standard error: who reads other people's messages, or
    destroys them, leaves a trace. Set `messages` and `size` of what is given, and `outcome` if it
    did not end as it should have.

    Args:
        settings: They say where the access log is.
        action: The command's name.
        owner: Whose archive; empty for all.

    Raises:
        SettingsError: The access log cannot be written, so nothing is done.
    """
    log = AccessLog(settings.access_log or STANDARD_ERROR)
    access = Access(
        by=f"operator:{operator()}", owner=owner, action=action, through=f"stanzalake {action}"
    )
    try:
        yield access
        access.outcome = "done" if access.outcome == "interrupted" else access.outcome
    except Exception:
        access.outcome = "failed"
        raise
    finally:
        log.write(access)
        log.close()


def operator() -> str:
    """Give the name of who is at the keyboard, also behind sudo."""
    return os.environ.get("SUDO_USER") or getpass.getuser()

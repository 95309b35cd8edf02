"""The access log: who accessed whose archive, and with which outcome, without any content.

JSON lines in the file of `STANZALAKE_ACCESS_LOG`. The file is reopened after a rename, so logrotate
needs no signal.
"""

import getpass
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

import msgspec

from stanzalake.config.settings import Settings
from stanzalake.errors import OutputClosed, SettingsError
from stanzalake.observability.interrupts import raise_interrupts
from stanzalake.observability.log_once import LogOnce

STANDARD_ERROR = "-"

_MAX_JID = 3071
_LOGIN_ID = Path("/proc/self/loginuid")
_NO_LOGIN = 2**32 - 1


@dataclass(kw_only=True)
class Access:
    """A request to an archive, or an operator's command.

    Attributes:
        by: Full JID of the requester, or ``operator:`` and a user name, which is only a claim.
        owner: Bare JID of the archive's owner; empty for all archives.
        action: Kind of request or command: search, form, metadata, export, delete, ...
        through: The component or command.
        filtered: Whether the request was limited to a single other party.
        retracted: Whether the content of retracted messages was included.
        outcome: Result; ``interrupted`` until completion, ``begun`` in a command's first line.
        messages: Number of messages returned or removed.
        size: Bytes of their stanzas.
        users: Real user ids of an operator's process, by field; empty for requests.
    """

    by: str
    owner: str
    action: str
    through: str
    filtered: bool = False
    retracted: bool = False
    outcome: str = "interrupted"
    messages: int = 0
    size: int = 0
    users: Mapping[str, int] = field(default_factory=dict)
    _at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def line(self) -> str:
        """Return the line of the access log, without a line end."""
        facts = {
            "at": self._at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "by": self.by[:_MAX_JID],
            **self.users,
            "owner": self.owner[:_MAX_JID],
            "action": self.action,
            "through": self.through,
            "filtered": self.filtered,
            **({"retracted": True} if self.retracted else {}),
            "outcome": self.outcome,
            "messages": self.messages,
            "bytes": self.size,
            "milliseconds": round(1000 * self.seconds),
        }
        return msgspec.json.encode(facts).decode()


class _File(WatchedFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  # logging's own
        """Pass the error on to `AccessLog.write`."""
        if error := sys.exception():
            raise error


class AccessLog:
    """Writer of the access log.

    Args:
        path: A file, ``-`` for standard error, or empty to write nothing.

    Raises:
        SettingsError: The file cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._handler = _handler(path) if path else None
        self._failure = LogOnce(__name__)

    def write(self, access: Access) -> bool:
        """Write a line; False after a failure, which is reported in the process's own log."""
        if self._handler is None:
            return True
        try:
            self._handler.emit(logging.makeLogRecord({"msg": access.line()}))
        except OSError as error:
            self._failure.begin(f"the access log is not written: {error.strerror}", logging.ERROR)
            return False
        self._failure.end()
        return True

    def close(self) -> None:
        """Close the file; lines that a full disk did not take are lost."""
        if self._handler is not None:
            with suppress(OSError):
                self._handler.close()


def _handler(path: str) -> logging.Handler:
    if path == STANDARD_ERROR:
        return logging.StreamHandler()
    try:
        return _File(path, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"STANZALAKE_ACCESS_LOG={path} cannot be used: {error.strerror}"
        ) from None


@contextmanager
def record_access(
    settings: Settings,
    action: str,
    owner: str = "",
    *,
    filtered: bool = False,
    retracted: bool = False,
) -> Iterator[Access]:
    """Record an operator's access to an archive, including a failed or interrupted one.

    A line with the outcome ``begun`` comes before the block, so that even a killed command has
    left one; the line after the block has the same time. Without an access log the latter goes to
    standard error: reading or removing other people's messages always leaves a trace. The block
    sets `messages` and `size` of the access, and `outcome` when the command did not complete.

    Args:
        settings: Settings with the path of the access log.
        action: Name of the command.
        owner: Bare JID of the archive's owner; empty for all.
        filtered: Whether the command is limited to a single other party.
        retracted: Whether it includes the content of retracted messages.

    Raises:
        SettingsError: The access log cannot be written; the block does not run.
    """
    log = AccessLog(settings.access_log or STANDARD_ERROR)
    access = Access(
        by=f"operator:{operator()}",
        owner=owner,
        action=action,
        through=f"stanzalake {action}",
        filtered=filtered,
        retracted=retracted,
        users=_user_ids(),
    )
    if settings.access_log and not log.write(replace(access, outcome="begun")):
        log.close()
        raise SettingsError(f"STANZALAKE_ACCESS_LOG={settings.access_log} cannot be written")
    try:
        with raise_interrupts():
            yield access
        access.outcome = "done" if access.outcome == "interrupted" else access.outcome
    except OutputClosed:
        raise
    except Exception:
        access.outcome = "failed"
        raise
    finally:
        log.write(access)
        log.close()


def operator() -> str:
    """Return the name of the user at the keyboard, as the environment claims, also behind sudo.

    Bytes that are no text are escaped; a user without a name is the number.
    """
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except KeyError:
        return str(os.getuid())
    return name.encode(errors="backslashreplace").decode()


def _user_ids() -> Mapping[str, int]:
    """Return the real user id, and that of the login behind sudo or su where the kernel knows."""
    users = {"uid": os.getuid()}
    with suppress(OSError, ValueError):
        login = int(_LOGIN_ID.read_text())
        if login != _NO_LOGIN:
            users["login_uid"] = login
    return users

"""The data directory: exclusive to a process, which may share its store with other commands."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stanzalake.errors import DataDirInUse, SettingsError

_LOCK_FILE = "lock"
_STORE = "store.dsn"


@dataclass
class _Hold:
    handle: int
    times: int = 0


_holds: dict[Path, _Hold] = {}
_holding = threading.Lock()


@contextmanager
def hold_data_dir(path: Path) -> Iterator[None]:
    """Lock the directory for this process while the context is open. Reentrant.

    Args:
        path: The data directory; created if missing.

    Raises:
        DataDirInUse: Another process holds the lock.
        SettingsError: The directory cannot be created or written.
    """
    path = path.absolute()
    with _holding:
        if path not in _holds:
            _holds[path] = _Hold(_lock(path))
        _holds[path].times += 1
    try:
        yield
    finally:
        with _holding:
            _holds[path].times -= 1
            if not _holds[path].times:
                os.close(_holds.pop(path).handle)


def _lock(path: Path) -> int:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(
            f"STANZALAKE_DATA_DIR={path} cannot be used: {error.strerror}"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise DataDirInUse(
            f"{path} is in use by another process of stanzalake: wait for its end, stop it, "
            "or set STANZALAKE_DATA_DIR to another directory"
        ) from None
    # Left by a process that was killed while holding the lock.
    (path / _STORE).unlink(missing_ok=True)
    return handle


@contextmanager
def publish_store_dsn(path: Path, dsn: str) -> Iterator[None]:
    """Publish the DSN of the shared store to this user's processes while the context is open.

    Args:
        path: The data directory, locked by this process.
        dsn: DSN of the shared store, with a password.
    """
    file, new = path / _STORE, path / f"{_STORE}.new"
    with suppress(FileNotFoundError):
        new.unlink()
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(dsn)
    new.rename(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def store_dsn(path: Path) -> str:
    """Return the DSN published by the process that holds the directory.

    Raises:
        DataDirInUse: That process shares no store, or not with this user.
    """
    try:
        return (path / _STORE).read_text()
    except FileNotFoundError:
        raise DataDirInUse(
            f"{path} is in use by another process of stanzalake, which does not share its store: "
            "try again when that one has ended, or, if it is a stanzalake up, has started"
        ) from None
    except OSError as error:
        raise DataDirInUse(
            f"{path} is in use by another process of stanzalake, and where it shares its store "
            f"cannot be read ({error.strerror}): run this as the user that runs stanzalake up"
        ) from None

"""The data directory: one process at a time holds it, and may share the store that is in it."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stanzalake.errors import DataDirInUse, SettingsError

_LOCK = "lock"
_STORE = "store.dsn"


@dataclass
class _Hold:
    handle: int
    times: int = 0


_holds: dict[Path, _Hold] = {}
_holding = threading.Lock()


@contextmanager
def hold_data_dir(path: Path) -> Iterator[None]:
    """Hold the directory while the context is open; a process may do so again and again.

    Args:
        path: The data directory; made if missing.

    Raises:
        DataDirInUse: Another process holds it.
        SettingsError: It cannot be made or written.
    """
    path = path.absolute()
    with _holding:
        if path not in _holds:
            _holds[path] = _Hold(_locked(path))
        _holds[path].times += 1
    try:
        yield
    finally:
        with _holding:
            _holds[path].times -= 1
            if not _holds[path].times:
                os.close(_holds.pop(path).handle)


def _locked(path: Path) -> int:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
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
    # Whoever wrote this held the directory, and was killed.
    (path / _STORE).unlink(missing_ok=True)
    return handle


@contextmanager
def publish_store_dsn(path: Path, dsn: str) -> Iterator[None]:
    """Tell other processes of this user where the store is, while the context is open.

    Args:
        path: The data directory, which this process holds.
        dsn: Where they reach the store, with a password.
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
    """Give where the process that holds the directory shares its store.

    Raises:
        DataDirInUse: It does not share it, or not with this user.
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

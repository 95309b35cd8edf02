"""The data directory: exists, is writable, has free space, and which process holds the lock."""

import os
import pwd
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from stanzalake.config.settings import Settings
from stanzalake.doctor.finding import Finding, fault, fine, warning

SUBJECT = "data directory"

_FULL = 2**30
_NEARLY_FULL = 10
_LOCKS = Path("/proc/locks")


async def check(settings: Settings) -> Sequence[Finding]:
    """Check the directory of the embedded log and store."""
    path = settings.data_dir
    if path.is_dir():
        return list(_check(path))
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return [fine(SUBJECT, f"{path} is not there yet: stanzalake up makes it")]
    return [
        fault(
            SUBJECT,
            f"{path} does not exist, and {_me()} cannot make it in {parent}",
            f"make it: install --directory --mode=700 --owner={_me()} {path}, "
            "or set STANZALAKE_DATA_DIR",
        )
    ]


def usable(settings: Settings) -> bool:
    """Return whether opening the files leaves none that the service's user cannot use."""
    path = settings.data_dir
    return path.is_dir() and _own(path) and os.access(path, os.W_OK | os.X_OK)


def _check(path: Path) -> Iterator[Finding]:
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        owner = _name(path.stat().st_uid)
        yield fault(
            SUBJECT,
            f"{path} belongs to {owner}, and {_me()} may not write there",
            f"run as {owner} (sudo -u {owner} stanzalake ...), or chown --recursive {_me()} {path}",
        )
    elif not _own(path):
        owner = _name(path.stat().st_uid)
        yield warning(
            SUBJECT,
            f"{path} belongs to {owner}, and this runs as {_me()}: log and store are not opened",
            f"check as the user of the service: sudo -u {owner} stanzalake check",
        )
    else:
        yield fine(SUBJECT, f"{path}, {_holder(path)}")
    yield disk(SUBJECT, *shutil.disk_usage(path)[::2])


def disk(subject: str, total: int, free: int) -> Finding:
    """Check the free space of a disk.

    Args:
        subject: Name of the data on the disk.
        total: Bytes in all.
        free: Bytes available.
    """
    share = 100 * free // max(total, 1)
    text = f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f} ({share} %)"
    remedy = "make room or enlarge the disk; a shorter PROSODY_ARCHIVE_EXPIRES_AFTER keeps less"
    if free < _FULL:
        return fault(f"{subject}, disk", text, remedy)
    if share < _NEARLY_FULL:
        return warning(f"{subject}, disk", text, remedy)
    return fine(f"{subject}, disk", text)


def _holder(path: Path) -> str:
    """Name the process that holds the lock, without taking the lock away from a service."""
    lock = path / "lock"
    if not lock.exists():
        return "held by nobody"
    status = lock.stat()
    number = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in _LOCKS.read_text().splitlines() if _LOCKS.exists() else ():
        fields = line.split()
        if number in fields and "->" not in fields:
            return f"held by process {fields[fields.index(number) - 1]}"
    return "held by nobody"


def _own(path: Path) -> bool:
    return path.stat().st_uid == os.geteuid()


def _me() -> str:
    return _name(os.geteuid())


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

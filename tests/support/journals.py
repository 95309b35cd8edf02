"""A running Prosody's journal, looked at from outside.

Prosody replaces and deletes files in it at any moment, so a file that a look at the
directory named may be gone when it is opened.
"""

from contextlib import suppress
from pathlib import Path


def size(directory: Path, pattern: str = "*") -> int:
    """Return the total size of a journal's files in bytes."""
    total = 0
    for file in directory.glob(pattern):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def texts(directory: Path) -> list[str]:
    """Return the contents of a journal's segments, oldest first."""
    contents = []
    for file in sorted(directory.glob("*.ndjson")):
        with suppress(FileNotFoundError):
            contents.append(file.read_text())
    return contents

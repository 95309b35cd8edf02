"""Links: the symbolic link by which ClickHouse finds the database in the engine's directory."""

import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from stanzalake.errors import StoreRefused

_DATABASE = Path("metadata", "default")
_TABLES = Path("data")
_UUID = re.compile(r"UUID '([0-9a-f]{3})([0-9a-f-]{33})'")

log = logging.getLogger(__name__)


def restore(directory: Path) -> None:
    """Make the link to the database anew in a directory that was copied without it.

    ClickHouse would begin an empty database where the link is missing, and refuses to start where
    it was followed, so that a directory is in its place (error 504). The links to tables are for
    people only: where these were followed, the tables are there twice, unless the copy broke off.

    Args:
        directory: The engine's directory.

    Raises:
        StoreRefused: The directory has no link, and several databases, or another one in its place.
    """
    link = directory / _DATABASE
    if link.is_symlink():
        return
    databases = _databases(directory)
    if not databases:
        return
    [database, *others] = databases
    if others or not _is_copy(link, database) or not _are_copies(directory, database):
        raise StoreRefused(
            f"{directory} was copied without its symbolic links, and is incomplete, or which "
            "database it had cannot be told: copy it again, with links (cp --archive), or restore "
            "a backup"
        )
    if link.is_dir():
        shutil.rmtree(directory / _TABLES, ignore_errors=True)
        shutil.rmtree(link)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(Path("..") / database.relative_to(directory))
    log.warning(
        "%s was copied without its symbolic links: the one it needs is made anew", directory
    )


def _databases(directory: Path) -> Sequence[Path]:
    """Return the directories with the definitions of a database's tables."""
    return sorted({file.parent for file in directory.glob("store/*/*/*.sql")})


def _is_copy(place: Path, database: Path) -> bool:
    """Return whether there is nothing in the place of the link but definitions of the database.

    Some of them may be missing: a former start was killed while it removed them.
    """
    if place.is_dir():
        return _contents(place).items() <= _contents(database).items()
    return not place.exists()


def _contents(directory: Path) -> dict[Path, bytes]:
    return {file.relative_to(directory): file.read_bytes() for file in _files(directory)}


def _are_copies(directory: Path, database: Path) -> bool:
    """Return whether the tables have all files of those in the place of the links to them."""
    tables = {file.stem: _UUID.search(file.read_text()) for file in database.glob("*.sql")}
    for place in directory.glob(f"{_TABLES}/*/*"):
        table = tables.get(place.name)
        if not place.is_symlink() and place.is_dir():
            own = directory / "store" / table[1] / (table[1] + table[2]) if table else None
            if own is None or not _sizes(place) <= _sizes(own):
                return False
    return True


def _sizes(directory: Path) -> set[tuple[Path, int]]:
    return {(file.relative_to(directory), file.stat().st_size) for file in _files(directory)}


def _files(directory: Path) -> Iterator[Path]:
    return (file for file in directory.rglob("*") if file.is_file())

"""Links: the symbolic link by which ClickHouse finds the database in the engine's directory."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from stanzalake.errors import StoreRefused

_DATABASE = Path("metadata", "default")
_TABLES = Path("data")

log = logging.getLogger(__name__)


def restore(directory: Path) -> None:
    """Make the link to the database anew in a directory that was copied without it.

    ClickHouse would begin an empty database where the link is missing, and refuses to start where
    it was followed, so that a directory is in its place (error 504). The links to tables are for
    people only: where these were followed, the tables are there twice.

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
    if len(databases) > 1 or not _is_copy(link, databases[0]):
        raise StoreRefused(
            f"{directory} was copied without its symbolic links, and which database it had cannot "
            "be told: copy it again, with links (cp --archive), or restore a backup"
        )
    if link.is_dir():
        shutil.rmtree(directory / _TABLES, ignore_errors=True)
        shutil.rmtree(link)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(Path("..") / databases[0].relative_to(directory))
    log.warning(
        "%s was copied without its symbolic links: the one it needs is made anew", directory
    )


def _databases(directory: Path) -> Sequence[Path]:
    """Return the directories with the definitions of a database's tables."""
    return sorted({file.parent for file in directory.glob("store/*/*/*.sql")})


def _is_copy(place: Path, database: Path) -> bool:
    """Return whether there is nothing in the place of the link, or the same definitions."""
    if place.is_dir():
        return _contents(place) == _contents(database)
    return not place.exists()


def _contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}

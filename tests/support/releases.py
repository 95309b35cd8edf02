"""Released versions, as CHANGELOG.md lists them, and the code of former ones."""

import asyncio
import re
import subprocess
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.documents import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
BEFORE_THE_FIRST = "8ecc10715a556d21eda77e51979c723b49a0986f"
"""A revision that stands in for a former version while there is none."""

_HEADING = re.compile(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", re.MULTILINE)
_ARCHIVE = 'git archive "$0" ingest processor query stanzalake prosody | tar --extract -C "$1"'


class Release(NamedTuple):
    """A version of the changelog.

    Attributes:
        version: Its number.
        is_released: Whether it has a date.
    """

    version: str
    is_released: bool


def releases(changelog: str = CHANGELOG) -> list[Release]:
    """Return the versions of a changelog, the newest first."""
    return [Release(v, date != "unreleased") for v, date in _HEADING.findall(changelog)]


def problems(changelog: str, version: str, frozen: Collection[str]) -> Iterator[str]:
    """Yield what is missing for the releases of a changelog.

    Args:
        changelog: The text.
        version: The version of the tree.
        frozen: Versions whose schema is kept.
    """
    newest, *former = releases(changelog)
    if newest.version != version:
        yield f"the newest version is {newest.version}, and pyproject.toml has {version}"
    for release in former:
        if not release.is_released:
            yield f"{release.version} has no date, and is not the newest version"
    released = {release.version for release in (newest, *former) if release.is_released}
    for missing in sorted(released.difference(frozen)):
        yield f"the schema of {missing} is not kept: python -m tests.support.schemas"
    for early in sorted(set(frozen) - released):
        yield f"the schema of {early} is kept, which is not released"


def former_revisions() -> list[str]:
    """Return the tags of the former versions, the newest first."""
    former = [f"v{release.version}" for release in releases() if release.version != VERSION]
    return former or [BEFORE_THE_FIRST]


def is_shallow() -> bool:
    """Return whether this is a clone without history, which has no former versions to run."""
    answer = subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"],  # noqa: S607  # wherever it is installed
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.strip() == "true"


async def check_out(revision: str, directory: Path) -> Path:
    """Write the code of a revision to a new directory, and return that.

    Raises:
        AssertionError: git does not know the revision; a clone needs its tags and history.
    """
    directory.mkdir()  # noqa: ASYNC240  # once
    command = ("bash", "-o", "pipefail", "-c", _ARCHIVE, revision, str(directory))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    assert await process.wait() == 0, f"git has no revision {revision}"
    return directory

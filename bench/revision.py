"""A revision of this repository as a contender: its tree checked out beside ours."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
_DOWNLOADS = ".cache"


@asynccontextmanager
async def checked_out(revision: str, directory: Path) -> AsyncIterator[Path]:
    """Check out a revision for the block; yields its root.

    Interpreter, packages and downloads (Kafka) are those of this process: a revision that needs
    others cannot be measured.

    Args:
        revision: Name of the revision for git.
        directory: Where the tree goes; must not exist.

    Raises:
        RuntimeError: git does not know the revision.
    """
    await _git("worktree", "add", "--detach", str(directory), revision)
    try:
        (directory / _DOWNLOADS).symlink_to(ROOT / _DOWNLOADS)
        yield directory
    finally:
        shutil.rmtree(directory)
        await _git("worktree", "prune")


async def run_part(tree: Path, part: str, *options: str) -> None:
    """Run a part of the benchmarks of a tree.

    Raises:
        RuntimeError: The run failed; the text ends with its output.
    """
    command = (sys.executable, "-m", "bench", part, *options)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tree, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"bench {part} in {tree} failed:\n{output.decode()}")


async def _git(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "git", *arguments, cwd=ROOT, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    _, error = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"git {' '.join(arguments)}: {error.decode().strip()}")

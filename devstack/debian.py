"""Programs of another Debian release, on this machine's kernel, network and files."""

import os
from collections.abc import Sequence
from pathlib import Path

from devstack.process import WITH_PARENT

TRIXIE = Path(__file__).parents[1] / ".cache" / "trixie"
"""A Debian 13 with Prosody 13, which `deploy/setup.sh test` makes."""

# A new user namespace forgets with which process this one ends.
_OVER_USR = f'mount --bind "$0/usr" /usr && exec {" ".join(WITH_PARENT)} "$@"'


def inside(root: Path | None, *command: str | Path) -> Sequence[str | Path]:
    """Give the command line that runs a program of another Debian.

    The program has that Debian's /usr in place of this one's, and all else as it is. The process
    is the program's own from the first moment to the last, so its number and its end are, too.

    Args:
        root: The other Debian's directory; None for this machine's programs.
        command: The program and its arguments.
    """
    if root is None:
        return command
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    return ("unshare", "--mount", *as_root, "sh", "-ec", _OVER_USR, root, *command)

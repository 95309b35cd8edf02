"""Lua with Prosody's libraries, as the tap has them."""

import os
import re
import subprocess


def environment() -> dict[str, str]:
    """Give the environment in which plain Lua finds Prosody's libraries."""
    about = subprocess.run(["prosodyctl", "about"], capture_output=True, text=True, check=True)  # noqa: S607  # wherever it is installed
    found = re.search(r"^Source directory:\s*(\S+)", about.stdout, re.MULTILINE)
    assert found, about.stdout
    return {**os.environ, "LUA_PATH": f"{found[1]}/?.lua;;", "LUA_CPATH": f"{found[1]}/?.so;;"}

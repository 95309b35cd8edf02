"""Files that are not Python: Prosody's modules and the systemd unit."""

import os
from pathlib import Path

from stanzalake.errors import SettingsError

_PACKAGE = Path(__file__).parents[1]
MODULES = ("mod_stanzalake", "mod_storage_stanzalake")
"""Directories of Prosody's modules."""

_UNIT = "stanzalake.service"
_PUBLIC = 0o022
_PROGRAM = "/opt/stanzalake/venv/bin/stanzalake"
_SERVICE = "stanzalake.env up"


def directory(name: str) -> Path:
    """Return the directory of shipped files, in an installation or in a checkout.

    Args:
        name: `prosody` or `deploy`.
    """
    installed = _PACKAGE / "shipped" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def install_modules(target: Path) -> list[Path]:
    """Copy Prosody's modules into a directory, and return where they are.

    Files of an older version are replaced one by one, so a Prosody that loads them meanwhile finds
    whole files. Everybody may read them, as Prosody runs as a user of its own.

    Args:
        target: A directory of Prosody's `plugin_paths`; created if missing.

    Raises:
        SettingsError: The directory cannot be written.
    """
    os.umask(_PUBLIC)
    try:
        return [_copy(directory("prosody") / name, target / name) for name in MODULES]
    except OSError as error:
        raise SettingsError(f"{target} cannot be written: {error.strerror}") from error


def unit(program: Path, service: str) -> str:
    """Return the systemd unit of a service.

    Args:
        program: The path of `stanzalake`.
        service: Its command: up, ingest, processor or query.
    """
    text = (directory("deploy") / _UNIT).read_text()
    return text.replace(_PROGRAM, str(program)).replace(_SERVICE, f"stanzalake.env {service}")


def _copy(source: Path, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    files = {file.name: file.read_bytes() for file in source.iterdir()}
    for name, content in files.items():
        scratch = target / f".{name}.new"
        scratch.write_bytes(content)
        scratch.replace(target / name)
    for old in target.glob("*.lua"):
        if old.name not in files:
            old.unlink()
    return target

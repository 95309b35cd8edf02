"""Prosody's modules as a rock, which `prosodyctl install` takes.

A binary rock, though all of it is Lua: LuaRocks asks for Lua's C headers to install any other.
https://github.com/luarocks/luarocks/wiki/Rock-file-format
"""

import hashlib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from stanzalake.errors import SettingsError
from stanzalake.operations.shipped import MODULES, directory

_NAME = "mod_stanzalake"
_ROCKSPEC = """\
rockspec_format = "3.0"
package = "{name}"
version = "{version}"
source = {{ url = "file://{name}-{version}.all.rock" }}
description = {{ summary = "The tap of the Stanzalake message archive", license = "MIT" }}
dependencies = {{ "lua >= 5.3" }}
build = {{ type = "none" }}
"""


def write_rock(target: Path) -> Path:
    """Write the rock into a directory, and return its path.

    Args:
        target: The directory; created if missing.

    Raises:
        SettingsError: The directory cannot be written.
    """
    release = f"{version('stanzalake')}-1"
    path = target / f"{_NAME}-{release}.all.rock"
    try:
        target.mkdir(parents=True, exist_ok=True)
        with ZipFile(path, "w", ZIP_DEFLATED) as rock:
            for name, content in _files(release).items():
                rock.writestr(name, content)
        path.chmod(0o644)
    except OSError as error:
        raise SettingsError(f"{target} cannot be written: {error.strerror}") from error
    return path


def _files(release: str) -> Mapping[str, bytes]:
    rockspec = f"{_NAME}-{release}.rockspec"
    lua = {
        module: {file.name: file.read_bytes() for file in (directory("prosody") / module).iterdir()}
        for module in MODULES
    }
    text = _ROCKSPEC.format(name=_NAME, version=release).encode()
    files = {f"lua/{m}/{name}": content for m in lua for name, content in lua[m].items()}
    manifest = "\n".join(_manifest(lua, rockspec, text)).encode()
    return {rockspec: text, "rock_manifest": manifest, **files}


def _manifest(lua: Mapping[str, Mapping[str, bytes]], rockspec: str, text: bytes) -> Iterator[str]:
    """Yield the lines of the table of checksums by which LuaRocks checks what it unpacks."""
    yield "rock_manifest = { lua = {"
    for module, files in lua.items():
        yield f"{module} = {{"
        yield from (f'["{name}"] = "{_md5(content)}",' for name, content in files.items())
        yield "},"
    yield f'}}, ["{rockspec}"] = "{_md5(text)}" }}'


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()

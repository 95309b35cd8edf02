"""The wheel and the source distribution hold all that an installation needs."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.documents import ROOT

BUILD = "from setuptools.build_meta import *; build_wheel('dist'); build_sdist('dist')"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both, by what pyproject.toml asks for, from what git has."""
    copy = tmp_path_factory.mktemp("package")
    tracked = "git ls-files --cached --others --exclude-standard -z"
    run("sh", "-ec", f"{tracked} | xargs -0 cp --parents --target-directory={copy}", cwd=ROOT)
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--target",
        copy / "tools",
        "setuptools>=77",
    )
    build(copy, copy / "tools")
    return copy / "dist"


def build(tree: Path, tools: Path) -> None:
    """Build both in a tree."""
    run(sys.executable, "-c", BUILD, cwd=tree, PYTHONPATH=str(tools))


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """Run a command that has to work, and give what it prints."""
    done = subprocess.run(  # noqa: S603  # ours
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_the_source_distribution_holds_what_the_wheel_is_made_of(dist: Path) -> None:
    [file] = dist.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "prosody").rglob("*.lua")}
    assert names >= {*wanted, "LICENSE", "deploy/stanzalake.service", "pyproject.toml"}


def test_the_image_is_built_from_all_that_the_wheel_is_made_of(dist: Path, tmp_path: Path) -> None:
    """What its COPY lines leave out, pip in the container has not got."""
    dockerfile = (ROOT / "deploy" / "stanzalake.Dockerfile").read_text()
    for sources, target in re.findall(r"^COPY (.*) (\S+)$", dockerfile, re.MULTILINE):
        place = tmp_path / target
        for source in map(ROOT.joinpath, sources.split()):
            if source.is_dir():
                shutil.copytree(source, place)
            else:
                place.parent.mkdir(exist_ok=True)
                shutil.copy(source, place)
    build(tmp_path, dist.parent / "tools")
    [wheel], [built] = dist.glob("*.whl"), (tmp_path / "dist").glob("*.whl")
    assert set(ZipFile(built).namelist()) == set(ZipFile(wheel).namelist())


def test_the_wheel_installs_prosodys_modules_and_prints_units(dist: Path, tmp_path: Path) -> None:
    [file] = dist.glob("*.whl")
    run(sys.executable, "-m", "zipfile", "--extract", file, tmp_path / "site")

    def stanzalake(*words: str) -> str:
        command = (sys.executable, "-m", "stanzalake", *words)
        return run(*command, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))

    stanzalake("prosody-modules", "--install", str(tmp_path / "modules"))
    for module in ("mod_stanzalake", "mod_storage_stanzalake"):
        there = {path.name: path.read_bytes() for path in (tmp_path / "modules" / module).iterdir()}
        assert there == {p.name: p.read_bytes() for p in (ROOT / "prosody" / module).iterdir()}
        assert (tmp_path / "modules" / module).stat().st_mode & 0o777 == 0o755
    assert stanzalake("prosody-modules").startswith(str(tmp_path / "site"))
    program = Path(sys.executable).with_name("stanzalake")
    start = f"ExecStart={program} --env-file /etc/stanzalake/stanzalake.env query\n"
    assert start in stanzalake("systemd-unit", "--service", "query")
    migrations = {path.name for path in (tmp_path / "site").rglob("*.sql")}
    assert migrations == {path.name for path in (ROOT / "stanzalake").rglob("*.sql")}


def test_an_older_version_of_the_modules_is_replaced(tmp_path: Path) -> None:
    module = tmp_path / "modules" / "mod_stanzalake"
    module.mkdir(parents=True)
    (module / "ends.lib.lua").write_text("-- of an older version")
    (module / "mod_stanzalake.lua").write_text("-- of an older version")
    command = (sys.executable, "-m", "stanzalake", "prosody-modules", "--install", module.parent)
    run(*command, cwd=ROOT)
    assert not (module / "ends.lib.lua").exists()
    own = ROOT / "prosody" / "mod_stanzalake" / "mod_stanzalake.lua"
    assert (module / "mod_stanzalake.lua").read_text() == own.read_text()

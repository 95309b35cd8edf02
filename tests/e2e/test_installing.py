"""Installing by the document, to the letter, on a Debian with Prosody and nothing else of ours.

It has its own file system, processes and, once all is installed, network: ports and paths are the
document's. What systemd does there is done here, as the unit says; its sandbox is not.
"""

import asyncio
import json
import os
import platform
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tests.support.documents import ROOT, section
from tests.support.wait import until

GUIDE = "docs/installing.md"
AS_ROOT = () if os.geteuid() == 0 else ("sudo",)
CONFIG = "/etc/prosody/prosody.cfg.lua"
COPY = "root/stanzalake"
DIRECTORIES = {"StateDirectory": "/var/lib", "RuntimeDirectory": "/run"}
RELEASES = ("bookworm", "trixie")
SOURCE = "deb http://deb.debian.org/debian {} main"
TARGETS = ("Created-By: Packages", "Origin: Debian")
FORMAT = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
TRUSTED = [
    f"--customize-hook=copy-in {path} {path.parent}"
    for path in map(Path, ("/etc/pip.conf", "/usr/local/share/ca-certificates"))
    if path.exists()
]
WITHOUT_TLS = "c2s_require_encryption = false\nallow_unencrypted_plain_auth = true\n"
"""Certificates are no matter of the document."""

INIT = """\
read -r pid _ < /proc/self/stat
ip link set lo up
mount -t proc proc "$0/proc"
exec chroot "$0" sh -c "echo $pid; exec cat"
"""
"""A machine's first process: says its number, and ends with its input.

The kernel then ends every other one and undoes the mounts, whatever has become of the test.
"""

TALK = """\
import asyncio

from devstack import conversation
from devstack.client import Client


async def main():
    both = [Client(f"{user}@capulet.lit/one", "wherefore", 5222) for user in ("juliet", "romeo")]
    for client in both:
        await client.online()
    await conversation.wait_announced(*both)
    await conversation.run(*both)
    for client in both:
        problems = list(conversation.problems(client, await client.archive(conversation.PAGE)))
        assert not problems, (problems, client.live)
        await client.offline()


asyncio.run(main())
"""


async def output(*words: str, given: str = "", cwd: Path | None = None) -> str:
    """Run a command that has to work, and give what it says."""
    process = await asyncio.create_subprocess_exec(
        *words, cwd=cwd, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    out, _ = await process.communicate(given.encode())
    assert process.returncode == 0, f"{words[-1]}: {out.decode()}"
    return out.decode()


class Machine:
    """A Debian in a directory.

    Args:
        root: The directory.
        release: Which one.
    """

    def __init__(self, root: Path, release: str) -> None:
        self._root = root
        self._release = release
        self._processes: list[Process] = []
        self._inside: tuple[str, ...] = ()

    async def make(self) -> None:
        """Install Debian with Prosody from where this machine has its own, and a copy of ours."""
        sources = await output("apt-get", "indextargets", "--format", FORMAT, *TARGETS)
        sources = re.sub(rf" ({'|'.join(RELEASES)})", f" {self._release}", sources)
        downloads = await output("apt-config", "dump", "Acquire::http", "Acquire::https")
        copy = f'tar --create --exclude "./.*" . | tar --extract --directory "$1/{COPY}"'
        await output(
            *(*AS_ROOT, "mmdebstrap", "--variant=minbase", "--include=prosody,systemd"),
            *("--dpkgopt=force-unsafe-io", f'--aptopt=APT::Get::Assume-Yes "true";\n{downloads}'),
            *("--skip=cleanup/apt/lists", f'--customize-hook=mkdir "$1/{COPY}" && {copy}'),
            *(*TRUSTED, self._release, str(self._root), "-"),
            given=sources or SOURCE.format(self._release),
            cwd=ROOT,
        )

    async def boot(self, *namespaces: str) -> None:
        """Start it, with namespaces of its own besides those of mounts and processes."""
        init = await asyncio.create_subprocess_exec(
            *(*AS_ROOT, "unshare", "--mount", "--pid", "--fork", *namespaces),
            *("sh", "-ec", INIT, str(self._root)),
            stdin=PIPE,
            stdout=PIPE,
        )
        self._processes = [init]
        assert init.stdout is not None
        pid = (await init.stdout.readline()).decode().strip()
        settings = [
            f"{name}={value}"
            for name, value in os.environ.items()
            if name.startswith("PIP_") or name.lower().endswith("_proxy")
        ]
        self._inside = (
            *(*AS_ROOT, "nsenter", "--target", pid, "--mount", "--pid", "--net", "--root"),
            *("env", "--ignore-environment", f"--chdir=/{COPY}", "HOME=/root", *settings),
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "SYSTEMD_OFFLINE=1",  # systemctl enables units, and starts none
            *("bash", "-euc"),
        )

    async def halt(self) -> None:
        """End everything that runs on it."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()

    async def remove(self) -> None:
        """Halt it and remove its directory."""
        await self.halt()
        await output(*AS_ROOT, "rm", "--recursive", "--force", str(self._root))

    async def run(self, script: str, given: str = "") -> str:
        """Run a script that has to work as root, and give what it says."""
        return await output(*self._inside, script, given=given)

    async def copy(self, file: Path) -> None:
        """Copy a file into the directory in which scripts are run."""
        await output(*AS_ROOT, "cp", str(file), str(self._root / COPY))

    async def serve(self, unit: str) -> None:
        """Start a unit that is enabled, as systemd would, with a log beside the root."""
        file = RawConfigParser(strict=False)
        file.optionxform = str  # type: ignore[method-assign,assignment]  # as systemd reads it
        file.read_string(await self.run(f"cat /etc/systemd/system/*.wants/{unit}.service"))
        service = file["Service"]
        user = service["User"]
        for kind, parent in DIRECTORIES.items():
            if kind in service:
                mode = service.get(f"{kind}Mode", "0755")
                await self.run(f"install -d -o {user} -m {mode} {parent}/{service[kind]}")
        with self.log(unit).open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(*self._inside, f"cd / && exec runuser -u {user} -- {service['ExecStart']}"),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)

    def log(self, unit: str) -> Path:
        """Give the file of what a unit has said."""
        return self._root.with_name(f"{unit}.log")


@pytest.fixture(params=RELEASES)
async def machine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path / "debian", request.param)
    try:
        await machine.make()
        yield machine
    finally:
        await machine.remove()


async def configure(machine: Machine, fragment: str) -> None:
    """Put the document's lines into Prosody's configuration, with the secrets of the settings."""
    shown = await machine.run("grep --invert-match '#' /etc/stanzalake/stanzalake.env")
    lines = dict(line.split("=") for line in shown.splitlines())
    for name in ("ID_KEYS", "COMPONENT_SECRET"):
        option = rf'((?:stanzalake_)?{name.lower()} = )"\.\.\."'
        fragment = re.sub(option, rf'\1"{lines[f"STANZALAKE_{name}"]}"', fragment)
    config = re.sub(r"\nplugin_paths = .*", "", await machine.run(f"cat {CONFIG}"))
    head, host, tail = config.partition("\nVirtualHost ")
    await machine.run(f"cat > {CONFIG}", f"{head}\n{fragment}{host}{tail}")
    await machine.run("cat > /etc/prosody/conf.d/test.cfg.lua", WITHOUT_TLS)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_installing_as_the_document_says(machine: Machine) -> None:
    program, settings, start, check = section(GUIDE, "On Debian, in one process")
    [fragment] = section(GUIDE, "On Debian, in one process", "lua")
    await machine.boot()
    await machine.run(program.text)
    await machine.run(settings.text)
    await configure(machine, fragment.text)
    # Where the document leaves root, the service's user may not be: no command needs to.
    await machine.run(check.text.replace("check\n", "migrate"))
    await machine.halt()

    await machine.boot("--net")
    for line in start.lines:
        await machine.run(line)
        if match := re.match(r"systemctl (?:re)?start (\w+)", line):
            await machine.serve(match[1])
    await converse(machine)
    look = check.text.removesuffix("check\n") + "stats --json"
    assert json.loads(await machine.run(look))["messages"] >= 14


async def converse(machine: Machine) -> None:
    """Have two new users of the machine talk, and read their archives."""
    await until(lambda: machine.log("stanzalake").read_text().count(": connected") == 2, 60)
    [check] = section(GUIDE, "On Debian, in one process")[-1:]
    await machine.run(check.text)
    for user in ("juliet", "romeo"):
        await machine.run(f"prosodyctl register {user} capulet.lit wherefore")
    python = "$(dirname $(readlink --canonicalize $(command -v stanzalake)))/python"
    await machine.run(f"{python} -", TALK)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_debian_package_serves_and_leaves_the_archive_when_purged(tmp_path: Path) -> None:
    said = await output("deploy/debian/build.sh", sys.prefix, str(tmp_path), cwd=ROOT)
    package = Path(re.findall("'([^']*[.]deb)'", said)[0])
    machine = Machine(tmp_path / "debian", platform.freedesktop_os_release()["VERSION_CODENAME"])
    try:
        await machine.make()
        await machine.boot()
        await machine.copy(package)
        for line in section(GUIDE, "As a Debian package")[0].lines[1:]:
            await machine.run(line)
        [fragment] = section(GUIDE, "On Debian, in one process", "lua")
        await configure(machine, re.sub("plugin_paths.*", "", fragment.text))
        await machine.halt()

        await machine.boot("--net")
        await machine.run("systemctl enable stanzalake")
        await machine.serve("prosody")
        await machine.serve("stanzalake")
        await converse(machine)
        await machine.run("apt-get purge --quiet=2 stanzalake && ! command -v stanzalake")
        await machine.run("test ! -e /etc/stanzalake && test -s /var/lib/stanzalake/log.sqlite")
    finally:
        await machine.remove()

"""The containers of docker-compose.yml without an engine: in one network of their own."""

import asyncio
import json
import os
import re
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from devstack.debian import TRIXIE
from devstack.kafka import CLASSES
from tests.support.clickhouse import for_the_engine
from tests.support.documents import ROOT

AS_ROOT = () if os.geteuid() == 0 else ("sudo",)
SETTINGS = ROOT / "tests" / "support" / "compose.env"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_INIT = """\
read -r pid _ < /proc/self/stat
ip link set lo up
mount --bind "$0" /etc/hosts
mount -t tmpfs tmpfs /var/log
mkdir /var/log/stanzalake
mount -t proc proc /proc
echo "$pid"
exec cat
"""
"""The first process of a pod: prints its number, and ends with its input.

The kernel then ends every other one and undoes the mounts, whatever has become of the test.
"""

_BROKER = """\
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /opt
mkdir -p /run/inside /opt/kafka/bin
cp "$1/kafka.pem" "$1/ca.crt" /run/inside
for pair in storage:kafka.tools.StorageTool server-start:kafka.Kafka; do
    program=/opt/kafka/bin/kafka-${pair%:*}.sh
    java="java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
    printf '#!/bin/sh\\nexec %s -cp "%s/*" %s "$@"\\n' "$java" "$0" "${pair#*:}" > "$program"
    chmod +x "$program"
done
mount --bind "$2" /var/lib
mkdir -p /var/lib/kafka/data
echo $$ > /var/lib/pid
shift 2
exec "$@"
"""
"""What a broker finds in its container: Kafka's programs, the certificates, a volume."""

_CONTAINER = """\
mount -t overlay overlay -o "lowerdir=$0,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
"""


def resolve(*overlays: str, settings: Path = SETTINGS, directory: Path = ROOT) -> dict[str, Any]:
    """Give the configuration as docker-compose understands it, variables replaced.

    Args:
        overlays: Files over docker-compose.yml.
        settings: The file of variables.
        directory: Where the files are, and what they mount.
    """
    chosen = [word for file in ("docker-compose.yml", *overlays) for word in ("--file", file)]
    shown = subprocess.run(  # noqa: S603  # our own files
        ["docker-compose", "--env-file", settings, *chosen, "config"],  # noqa: S607  # wherever it is
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    resolved: dict[str, Any] = yaml.safe_load(shown.stdout)
    return resolved


class Pod:
    """A network and processes of their own, where every service's name is the loopback address.

    Args:
        directory: Where the containers' files and logs are.
        names: The services' names.
    """

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self.directory = directory
        self._hosts = directory / "hosts"
        brokers = [name for name in names if name.startswith("kafka")]
        others = [name for name in names if name not in brokers]
        lines = [f"127.0.0.1 localhost {os.uname().nodename} {' '.join(others)}"]
        # Brokers have the same ports, and addresses of their own.
        lines += [f"127.0.1.{number} {name}" for number, name in enumerate(brokers, 1)]
        self._hosts.write_text("".join(f"{line}\n" for line in lines))
        self._init: Process | None = None
        self._inside: tuple[str, ...] = ()
        self._others: list[Process] = []

    async def start(self) -> None:
        """Make the namespaces."""
        self._init = await asyncio.create_subprocess_exec(
            *(*AS_ROOT, "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"),
            *("sh", "-ec", _INIT, str(self._hosts)),
            stdin=PIPE,
            stdout=PIPE,
        )
        assert self._init.stdout is not None
        pid = (await self._init.stdout.readline()).decode().strip()
        self._inside = (*AS_ROOT, "nsenter", "--target", pid, "--mount", "--net", "--pid")

    async def stop(self) -> None:
        """End everything that runs in it."""
        if self._init is not None and self._init.stdin is not None:
            self._init.stdin.close()
            await self._init.wait()
        for process in self._others:
            await process.wait()

    async def run(
        self, *command: str | Path, environment: Mapping[str, str] | None = None, given: str = ""
    ) -> str:
        """Run a command that has to work, and give what it prints."""
        process = await asyncio.create_subprocess_exec(
            *self._inside,
            *_with(environment),
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
        )
        printed, _ = await process.communicate(given.encode())
        assert process.returncode == 0, f"{command}: {printed.decode(errors='replace')}"
        return printed.decode(errors="replace")

    async def healthy(self, service: Mapping[str, Any]) -> None:
        """Wait until a service's health check succeeds, as what depends on it does."""
        kind, *check = service["healthcheck"]["test"]
        if kind == "CMD-SHELL":
            check = ["sh", "-c", check[0].replace("$$", "$")]
        await self.works(*check, environment=service["environment"])

    async def works(self, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """Run a command until it works, for two minutes at most."""
        async with asyncio.timeout(120):
            while True:
                with suppress(AssertionError):
                    await self.run(*command, environment=environment)
                    return

    async def spawn(
        self, name: str, *command: str | Path, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start a process whose log is under a name."""
        with self.log_path(name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._inside,
                *_with(environment),
                *command,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._others.append(process)
        return process

    def log(self, name: str) -> str:
        """Give what a process has printed so far."""
        return self.log_path(name).read_text(errors="replace")

    def log_path(self, name: str) -> Path:
        """Give the file of what a process prints."""
        return self.directory / f"{name}.log"


def _with(environment: Mapping[str, str] | None) -> tuple[str, ...]:
    if environment is None:
        return ()
    return ("env", "--ignore-environment", PATH, *(f"{k}={v}" for k, v in environment.items()))


class Container:
    """A container on Debian 13's files, as its Dockerfile and its service in the compose file say.

    Args:
        pod: Where it runs.
        name: Its service.
        service: What docker-compose says of it.
        volumes: Directories in place of named volumes.
    """

    def __init__(
        self, pod: Pod, name: str, service: Mapping[str, Any], volumes: Mapping[str, Path]
    ) -> None:
        self._pod = pod
        self._name = name
        self._service = service
        self._volumes = volumes
        self._file = (ROOT / service["build"]["dockerfile"]).read_text()
        self._directory = pod.directory / name
        self.root = self._directory / "root"

    async def start(self) -> None:
        """Lay out its file system, and start what its image starts."""
        for name in ("upper", "work", "root"):
            (self._directory / name).mkdir(parents=True)
        self._check_packages()
        await self._pod.run("sh", "-ec", _CONTAINER, str(TRIXIE), str(self._directory))
        for source, target in re.findall(r"^COPY (\S+) (/\S+)$", self._file, re.MULTILINE):
            await self._pod.run("mkdir", "-p", self.root / Path(target).parent.relative_to("/"))
            await self._pod.run("cp", "-rT", ROOT / source, self.root / target[1:])
        for volume in self._service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            await self._mount(self._volumes.get(source, Path(source)), self.root / target[1:])
        [entry] = re.findall(r"^ENTRYPOINT (\[.*\])$", self._file, re.MULTILINE)
        await self._pod.spawn(self._name, *self.command(*json.loads(entry)))

    def command(self, *command: str) -> tuple[str | Path, ...]:
        """Give the command line that runs a command in it."""
        environment = _with(self._service["environment"])
        return ("chroot", self.root, *environment, *command)

    async def run(self, *command: str) -> str:
        """Run a command in it that has to work, as `docker compose exec` does."""
        return await self._pod.run(*self.command(*command))

    async def _mount(self, source: Path, target: Path) -> None:
        """Mount a file or a directory, on one that is made for it."""
        make = 'if [ -d "$0" ]; then mkdir -p "$1"; else mkdir -p "${1%/*}"; touch "$1"; fi'
        await self._pod.run("sh", "-ec", f'{make}; mount --bind "$0" "$1"', source, target)

    def _check_packages(self) -> None:
        [words] = re.findall(
            r"apt-get install -y --no-install-recommends (.*?) \\$", self._file, re.MULTILINE
        )
        status = (TRIXIE / "var/lib/dpkg/status").read_text()
        for package in words.split():
            assert f"Package: {package}\nStatus: install ok installed" in status, package


def kafka_properties(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the properties that the image apache/kafka makes of variables."""
    return {
        name.removeprefix("KAFKA_")
        .replace("___", "-")
        .replace("__", "\0")
        .replace("_", ".")
        .replace("\0", "_")
        .lower(): value
        for name, value in environment.items()
        if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
    }


async def start_kafka(pod: Pod, service: Mapping[str, Any]) -> None:
    """Start a broker on what a service's variables say."""
    directory = pod.directory / "kafka"
    directory.mkdir()
    properties = {**kafka_properties(service["environment"]), "log.dirs": str(directory / "data")}
    file = directory / "server.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    java = ("java", "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{CLASSES}/*")
    await pod.run(
        *(*java, "kafka.tools.StorageTool", "format", "--cluster-id", "4L6g3nShT-eMCtK--X86sw"),
        *("--config", file),
    )
    await pod.spawn("kafka.server", *java, "kafka.Kafka", file)


def volume_of(pod: Pod, name: str) -> Path:
    """Give the directory of a broker's volume."""
    return pod.directory / f"volume-{name}"


async def start_broker(pod: Pod, name: str, service: Mapping[str, Any], inside: Path) -> None:
    """Start a broker by the script that its container is started by."""
    volume = volume_of(pod, name)
    volume.mkdir()
    [script] = [x.split(":")[0] for x in service["volumes"] if "start-kafka" in x]
    arguments = (str(CLASSES), inside, volume, "bash", script)
    await pod.spawn(
        name,
        *("unshare", "--mount", "sh", "-ec", _BROKER, *arguments),
        environment=service["environment"],
    )


async def kill_broker(pod: Pod, name: str) -> None:
    """Kill a broker."""
    await pod.run("kill", "-KILL", (volume_of(pod, name) / "pid").read_text().strip())


async def start_clickhouse(
    pod: Pod, service: Mapping[str, Any], port: int = 8123, certificate: Path | None = None
) -> None:
    """Start the engine behind ClickHouse's HTTP interface, on a service's files."""
    data = pod.directory / "clickhouse"
    tls = () if certificate is None else ("--certificate", certificate)
    lay_out(service["volumes"], data)
    await pod.spawn(
        "clickhouse.server",
        *(sys.executable, "-m", "devstack.clickhouse_server", "--data", data),
        *("--port", str(port), *tls),
        environment={**service["environment"], "PYTHONPATH": str(ROOT)},
    )


def lay_out(volumes: Sequence[str], data: Path) -> None:
    """Copy the files that a ClickHouse service mounts to where the engine looks for them.

    The engine in a process is the user "default": tests/integration/test_deploy.py removes it.
    """
    for volume in volumes:
        source, target = volume.split(":")[:2]
        if Path(source).is_file() and "no-default-user" not in source:
            kind, name = Path(target).parts[-2:]
            (data / kind).mkdir(parents=True, exist_ok=True)
            (data / kind / name).write_text(for_the_engine(Path(source).read_text()))

"""docker-compose.yml, as docs/installing.md has it started: it serves a client over TLS."""

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.compose import (
    Container,
    Pod,
    kill_broker,
    resolve,
    start_broker,
    start_clickhouse,
    start_kafka,
)
from tests.support.documents import ROOT, section
from tests.support.wait import until

HOST = "localhost"
USERS = ("juliet", "romeo")
PRODUCTION = "docker-compose.production.yml"
STANZALAKE = (sys.executable, "-m", "stanzalake")

TALK = """\
import asyncio, sys

from devstack import conversation
from devstack.client import Client


class Secure(Client):
    def __init__(self, jid, port, authority):
        super().__init__(jid, "wherefore", port)
        self.enable_plaintext = False
        self.enable_starttls, self.enable_direct_tls = port == 5222, port == 5223
        self["feature_mechanisms"].unencrypted_plain = False
        self.ca_certs = authority


async def main(authority, archive):
    ports = {"juliet": 5222, "romeo": 5223}
    both = [Secure(f"{name}@localhost/one", port, authority) for name, port in ports.items()]
    for client in both:
        await client.online()
    if archive == "yes":
        await conversation.wait_announced(*both)
    await conversation.run(*both)
    for client in both:
        if archive == "yes":
            kept = await client.archive(conversation.PAGE)
            assert not list(conversation.problems(client, kept))
        await client.offline()


asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def pod(tmp_path: Path) -> AsyncIterator[Pod]:
    pod = Pod(tmp_path, sorted(resolve(PRODUCTION)["services"]))
    try:
        await pod.start()
        yield pod
    finally:
        await pod.stop()


async def start_prosody(
    pod: Pod, service: Mapping[str, Any], certificates: Path | None = None
) -> Container:
    """Start Prosody's container, with empty volumes but for the certificates."""
    volumes = {name: pod.directory / f"volume-{name}" for name in ("prosody", "certs")}
    for directory in volumes.values():
        directory.mkdir()
    if certificates is not None:
        volumes["certs"] = certificates
    prosody = Container(pod, "prosody", service, volumes)
    await prosody.start()
    for port in ("component", "c2s", "c2s_direct_tls", "http", "https"):
        await until(partial(said, pod, "prosody", f"Activated service '{port}' on ["), 30)
    return prosody


async def start_alone(pod: Pod, certificates: Path | None = None) -> Container:
    """Start Prosody's container with the accounts, and nothing beside it."""
    prosody = await start_prosody(pod, resolve()["services"]["prosody"], certificates)
    for user in USERS:
        await prosody.run("prosodyctl", "register", user, HOST, "wherefore")
    return prosody


async def made_certificate(pod: Pod, prosody: Container) -> Path:
    """Give a copy of the certificate that Prosody has made for itself."""
    made = prosody.root / "var/lib/prosody/made-certs/localhost.crt"
    copy = pod.directory / "authority.crt"
    copy.write_text(await pod.run("cat", made))
    return copy


async def talk(pod: Pod, authority: Path, archive: str = "no") -> None:
    """Hold a conversation over TLS, on both ports for clients."""
    await pod.run(
        *(sys.executable, "-", authority, archive),
        environment={"PYTHONPATH": str(ROOT)},
        given=TALK,
    )


async def test_prosody_makes_a_certificate_and_serves_clients_over_tls(pod: Pod) -> None:
    prosody = await start_alone(pod)
    await talk(pod, await made_certificate(pod, prosody))
    printed = pod.log("prosody")
    assert "made one that nobody trusts" in printed
    assert "error" not in printed.lower(), printed
    [warning] = re.findall(r"\bwarn\t(.*)", printed)
    assert warning == "Events wait in the journal: no ingest component is connected"


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        ("localhost.crt", "localhost.key"),
        ("live/localhost/fullchain.pem", "live/localhost/privkey.pem"),
    ],
)
async def test_prosody_serves_with_a_certificate_of_the_operator(
    pod: Pod, certificate: str, key: str
) -> None:
    directory = pod.directory / "operators"
    (directory / certificate).parent.mkdir(parents=True)
    await pod.run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost"),
        *("-keyout", directory / key, "-out", directory / certificate),
    )
    (directory / key).chmod(0o600)
    await start_alone(pod, directory)
    await talk(pod, directory / certificate)


async def test_prosody_shows_its_figures_to_prometheus_alone(pod: Pod) -> None:
    await start_alone(pod)
    await pod.run("ip", "address", "add", "10.121.91.2/28", "dev", "lo")
    fetch = (
        "curl",
        "--silent",
        "--insecure",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    )
    for url in ("http://127.0.0.1:5280/metrics", "https://127.0.0.1:5281/metrics"):
        allowed = ("--interface", "10.121.91.2")
        assert await pod.run(*fetch, url) == "200"
        assert await pod.run(*fetch, *allowed, url) == "200"
    await pod.run("ip", "address", "add", "172.18.0.1/16", "dev", "lo")
    for url in ("http://172.18.0.1:5280/metrics", "https://172.18.0.1:5281/metrics"):
        assert await pod.run(*fetch, "--interface", "172.18.0.1", url) == "403"


def environment(services: Mapping[str, Any], name: str, number: int) -> dict[str, str]:
    """Give a service's variables; the services share an address here, so not a port."""
    return {
        **services[name]["environment"],
        "STANZALAKE_HTTP_ADDRESS": f"127.0.0.1:{9500 + number}",
        "PYTHONPATH": str(ROOT),
    }


def fill_in(directory: Path, copy: str) -> Path:
    """Make the file of settings as the document says, with a secret wherever one is wanted."""
    shutil.copytree(ROOT / "deploy", directory / "deploy")
    for file in ROOT.glob("docker-compose*.yml"):
        shutil.copy(file, directory)
    subprocess.run(["sh", "-ec", copy], cwd=directory, check=True)  # noqa: S603, S607  # ours
    settings = directory / ".env"
    settings.write_text(
        re.sub(
            "=$", lambda _: f"={secrets.token_hex(24)}", settings.read_text(), flags=re.MULTILINE
        )
    )
    return settings


async def start_services(pod: Pod, services: Mapping[str, Any]) -> None:
    """Start what the compose file starts of ours, in its order."""
    ready = {"ingest": ": connected", "processor": "reading partitions", "query": ": connected"}
    await pod.healthy(services["clickhouse"])
    await pod.run(*STANZALAKE, "migrate", environment=environment(services, "migrate", 0))
    for number, name in enumerate(ready):
        command = (*STANZALAKE, *services[name]["command"])
        await pod.spawn(name, *command, environment=environment(services, name, number))
    for name, text in ready.items():
        await until(partial(said, pod, name, text), 120)


def said(pod: Pod, name: str, text: str) -> bool:
    return text in pod.log(name)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_all_of_docker_compose_serves_as_the_document_says(pod: Pod) -> None:
    [block] = section("docs/installing.md", "In containers")
    copy, up, register, check = block.commands
    assert up == "docker compose up --detach"
    services = resolve(settings=fill_in(pod.directory, copy), directory=pod.directory)["services"]
    await start_kafka(pod, services["kafka"])
    await start_clickhouse(pod, services["clickhouse"])
    prosody = await start_prosody(pod, services["prosody"])
    await pod.works("bash", "-c", "</dev/tcp/kafka/9092")  # the image's check is not here
    await start_services(pod, services)
    for user in USERS:
        words = register.replace("juliet", user).replace("PASSWORD", "wherefore").split()
        assert words[:4] == ["docker", "compose", "exec", "prosody"]
        await prosody.run(*words[4:])
    await talk(pod, await made_certificate(pod, prosody), "yes")
    words = check.split()
    assert words[:5] == ["docker", "compose", "exec", "ingest", "stanzalake"]
    await pod.run(*STANZALAKE, *words[5:], environment=environment(services, "ingest", 9))
    log = await pod.run("cat", services["query"]["environment"]["STANZALAKE_ACCESS_LOG"])
    assert log.count('"outcome":"answered"') >= len(USERS)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_production_goes_on_without_one_of_its_brokers(pod: Pod) -> None:
    [copy] = [x for x in section("docs/installing.md", "In containers")[0].commands if "cp " in x]
    make, up = section("docs/scaling.md", "In containers")[0].commands
    settings = fill_in(pod.directory, copy)
    await pod.run("sh", "-ec", f"cd {pod.directory} && {make}")
    assert up.endswith(f"--file docker-compose.yml --file {PRODUCTION} up --detach")
    services = resolve(PRODUCTION, settings=settings, directory=pod.directory)["services"]
    inside = pod.directory / "deploy" / "inside"
    for name in ("kafka", "kafka-2", "kafka-3"):
        await start_broker(pod, name, services[name], inside)
    both = pod.directory / "clickhouse.pem"
    both.write_text("".join((inside / f"clickhouse.{x}").read_text() for x in ("key", "crt")))
    await start_clickhouse(pod, services["clickhouse"], 8443, both)
    prosody = await start_prosody(pod, services["prosody"])
    for user in USERS:
        await prosody.run("prosodyctl", "register", user, HOST, "wherefore")
    await pod.run("sh", "-ec", f"mount -t tmpfs tmpfs /run && cp -r {inside} /run/inside")
    for name in ("kafka", "kafka-2", "kafka-3"):
        await pod.healthy(services[name])
    await start_services(pod, services)
    certificate = await made_certificate(pod, prosody)
    await talk(pod, certificate, "yes")
    await kill_broker(pod, "kafka")
    await talk(pod, certificate, "yes")


DAY = 86400
STUBS = {True: '#!/bin/sh\nmkdir "$BACKUP_DIRECTORY/$2"\n', False: "#!/bin/sh\nexit 1\n"}
"""What stands in for `stanzalake backup NAME`."""


@pytest.mark.parametrize("works", STUBS)
async def test_a_backup_is_made_each_night_and_its_age_is_told(pod: Pod, works: bool) -> None:
    backups, programs = pod.directory / "backups", pod.directory / "bin"
    for age in (2, 30):
        (backups / f"nightly-{age}").mkdir(parents=True)
        os.utime(backups / f"nightly-{age}", (time.time() - age * DAY,) * 2)
    programs.mkdir()
    (programs / "python").symlink_to(sys.executable)
    (programs / "stanzalake").write_text(STUBS[works])
    (programs / "stanzalake").chmod(0o755)
    settings = {
        **resolve(PRODUCTION)["services"]["backup"]["environment"],
        "BACKUP_DIRECTORY": str(backups),
        "PATH": f"{programs}:/usr/bin:/bin",
        "TMPDIR": str(pod.directory),
    }
    begun = time.time()
    await pod.spawn("backup", "sh", ROOT / "deploy" / "backup.sh", environment=settings)
    told = pod.directory / "figures" / "metrics.txt"
    wanted = begun - DAY if works else 0
    await until(lambda: told.exists() and float(told.read_text().split()[1]) > wanted, 30)
    look = "curl --silent --fail --retry 100 --retry-connrefused http://127.0.0.1:9411/metrics.txt"
    name, newest = (await pod.run(*look.split())).split()
    assert name == "stanzalake_backup_last_success_timestamp_seconds"
    kept = {directory.name for directory in backups.iterdir()}
    if works:
        assert float(newest) >= int(begun)
        assert "nightly-2" in kept
        assert "nightly-30" not in kept
    else:
        assert begun - 3 * DAY < float(newest) < begun - DAY
        assert kept == {"nightly-2", "nightly-30"}

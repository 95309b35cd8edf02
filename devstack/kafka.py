"""A real Kafka broker on the loopback interface, for `make up` and the tests.

`python -m devstack.kafka` archives its classes for the brokers that are started later.
"""

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM

from devstack.ports import free_port
from devstack.process import ProgramFailed, Server

LOOPBACK = "127.0.0.1"
CLASSES = Path(__file__).parents[1] / ".cache" / "kafka"
"""Directory of Kafka's classes, installed by deploy/setup.sh."""
ARCHIVE = CLASSES / "classes.jsa"
"""Those classes as the JVM maps them: a start takes two thirds of the time with them.

The JVM loads the classes themselves if there is no archive, or one of other files or another JVM.
"""

_CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"
_STARTED = "Kafka Server started"
_FORMATTED: dict[tuple[int, tuple[tuple[str, str], ...]], dict[str, bytes]] = {}
"""The files of an empty log directory, by node id and users: the tool takes a second of CPU."""

_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAIN://{loopback}:{port},SASL://{loopback}:{sasl_port},\
CONTROLLER://{loopback}:{controller_port}
listener.security.protocol.map=PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAIN
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.sasl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required {users};
listener.name.sasl.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
log.dirs={data}
offsets.topic.replication.factor={brokers}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
auto.create.topics.enable=false
broker.heartbeat.interval.ms=250
broker.session.timeout.ms=1000
"""

_LOGGING = """\
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=info
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c: %m%n
"""


@dataclass(kw_only=True)
class Kafka(Server):
    """A broker, also a controller, and its directory.

    Attributes:
        directory: Configuration, data and log; created if missing.
        node: Node id.
        cluster: Controller ports of all brokers of the cluster, by node id; brokers of a cluster
            have to be started together. None for a single broker.
        port: Port for clients, plain text.
        sasl_port: Port for clients with SASL PLAIN or SCRAM-SHA-256, plain text.
        controller_port: Port of the controller.
        users: SASL users and passwords.
        archive: Where the JVM writes the archive of the classes at its end; None to use ARCHIVE.
    """

    directory: Path
    node: int = 1
    cluster: Mapping[int, int] | None = None
    port: int = field(default_factory=free_port)
    sasl_port: int = field(default_factory=free_port)
    controller_port: int = field(default_factory=free_port)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    archive: Path | None = None

    @property
    def address(self) -> str:
        """HOST:PORT for clients, plain text."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def log_path(self) -> Path:
        """Kafka's log, across restarts."""
        return self.directory / "kafka.log"

    async def start(self) -> None:
        """Start the broker, keeping its data, and wait until it serves.

        Raises:
            ProgramFailed: Kafka is not installed, ended, or did not serve within a minute.
        """
        if not CLASSES.is_dir():
            raise ProgramFailed(f"there is no Kafka in {CLASSES}: deploy/setup.sh puts it there")
        self._write_config()
        if not (self._data / "meta.properties").exists():
            await self._format()
        archiving = [f"-XX:ArchiveClassesAtExit={self.archive}"] if self.archive else []
        await self._launch(*self._java(*archiving, "kafka.Kafka", self._properties))
        await self._works(lambda: _STARTED in self._output())

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _write_config(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = (f'user_{name}="{password}"' for name, password in self.users.items())
        cluster = self.cluster or {self.node: self.controller_port}
        voters = (f"{node}@{LOOPBACK}:{port}" for node, port in cluster.items())
        self._properties.touch(mode=0o600)
        self._properties.write_text(
            _PROPERTIES.format(
                loopback=LOOPBACK,
                node=self.node,
                voters=",".join(voters),
                brokers=len(cluster),
                port=self.port,
                sasl_port=self.sasl_port,
                controller_port=self.controller_port,
                users=" ".join(users),
                data=self._data,
            )
        )
        (self.directory / "log4j2.properties").write_text(_LOGGING)

    async def _format(self) -> None:
        key = (self.node, tuple(self.users.items()))
        if key not in _FORMATTED:
            await self._run_format()
            _FORMATTED[key] = {file.name: file.read_bytes() for file in self._data.iterdir()}
        self._data.mkdir(exist_ok=True)
        for name, content in _FORMATTED[key].items():
            (self._data / name).write_bytes(content)

    async def _run_format(self) -> None:
        scram = [
            argument
            for name, password in self.users.items()
            for argument in ("--add-scram", f"SCRAM-SHA-256=[name={name},password={password}]")
        ]
        tool = ("kafka.tools.StorageTool", "format", "--cluster-id", _CLUSTER_ID)
        await self._launch(*self._java(*tool, "--config", self._properties, *scram))
        if await self.wait():
            raise self._failure("could not be formatted")

    def _java(self, *arguments: str | Path) -> Sequence[str | Path]:
        archive = () if self.archive else (f"-XX:SharedArchiveFile={ARCHIVE}",)
        return (
            *("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *archive),
            f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}",
            *("-cp", f"{CLASSES}{os.sep}*", *arguments),
        )


async def archive_classes() -> None:
    """Run a broker once, and keep the archive of the classes that it loaded."""
    scratch = ARCHIVE.with_suffix(".new")
    with tempfile.TemporaryDirectory() as directory:
        broker = Kafka(directory=Path(directory), archive=scratch)
        await broker.start()
        broker.signal(SIGTERM)
        await broker.wait()  # the archive takes longer to write than a broker to stop
    scratch.replace(ARCHIVE)


if __name__ == "__main__":
    asyncio.run(archive_classes())

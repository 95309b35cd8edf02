"""A real Kafka broker on the loopback interface, for `make up` and the tests."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from devstack.ports import free_port
from devstack.process import Server

LOOPBACK = "127.0.0.1"
CLASSES = Path(__file__).parents[1] / ".cache" / "kafka"
"""Where deploy/setup.sh puts Kafka."""

_CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"
_STARTED = "Kafka Server started"
_START_WAIT = 60.0
_POLL = 0.05
_LOG_TAIL = 4000

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


class KafkaFailed(Exception):
    """Kafka did not do what it was started for; the text ends with its own words."""


@dataclass(kw_only=True)
class Kafka(Server):
    """One broker, which is a controller as well, and its directory.

    Attributes:
        directory: Where configuration, data and log are; made if missing.
        node: Its number in its cluster.
        cluster: The controller ports of all brokers of its cluster, by number; they have to be
            started together. None for a broker of its own.
        port: Port for clients, plain text.
        sasl_port: Port for clients that log in by PLAIN or SCRAM-SHA-256, plain text.
        controller_port: The broker's port for its cluster.
        users: Names and passwords for the log-in.
    """

    directory: Path
    node: int = 1
    cluster: Mapping[int, int] | None = None
    port: int = field(default_factory=free_port)
    sasl_port: int = field(default_factory=free_port)
    controller_port: int = field(default_factory=free_port)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop_wait: ClassVar[float] = 20.0

    @property
    def address(self) -> str:
        """HOST:PORT for clients, plain text."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def log_path(self) -> Path:
        """Kafka's log, of all its starts."""
        return self.directory / "kafka.log"

    async def start(self) -> None:
        """Start the broker, on the data of its last start, and wait until it serves.

        Raises:
            KafkaFailed: It is not installed, it ended, or it did not serve within a minute.
        """
        if not CLASSES.is_dir():
            raise KafkaFailed(f"there is no Kafka in {CLASSES}: deploy/setup.sh puts it there")
        self._write_config()
        with self.log_path.open("ab") as output:
            before = output.tell()
            if not (self._data / "meta.properties").exists():
                await self._format()
            self._process = await self._java("kafka.Kafka", str(self._properties), output=output)
        try:
            async with asyncio.timeout(_START_WAIT):
                await self._serves(before)
        except TimeoutError:
            self.kill()
            raise KafkaFailed(f"Kafka does not start:\n{self._log_tail()}") from None

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
        scram = [
            argument
            for name, password in self.users.items()
            for argument in ("--add-scram", f"SCRAM-SHA-256=[name={name},password={password}]")
        ]
        tool = await self._java(
            *("kafka.tools.StorageTool", "format", "--cluster-id", _CLUSTER_ID),
            *("--config", str(self._properties), *scram),
            output=asyncio.subprocess.PIPE,
        )
        output, _ = await tool.communicate()
        if tool.returncode:
            raise KafkaFailed(f"Kafka's storage tool: {output.decode(errors='replace')}")

    async def _java(self, *arguments: str, output: object) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}",
            *("-cp", f"{CLASSES}{os.sep}*", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,  # type: ignore[arg-type]  # a file or PIPE
            stderr=asyncio.subprocess.STDOUT,
        )

    async def _serves(self, before: int) -> None:
        while _STARTED.encode() not in self.log_path.read_bytes()[before:]:
            if not self.alive:
                raise KafkaFailed(f"Kafka ended at its start:\n{self._log_tail()}")
            await asyncio.sleep(_POLL)

    def _log_tail(self) -> str:
        return self.log_path.read_text(errors="replace")[-_LOG_TAIL:]

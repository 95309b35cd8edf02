"""Complete deployments on loopback, each in a directory: Prosody with the tap, and the archive."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from devstack.clickhouse import ClickHouse
from devstack.client import Client
from devstack.kafka import Kafka
from devstack.ports import free_port
from devstack.process import ProgramFailed
from devstack.prosody import LOOPBACK, TREE, Prosody
from devstack.service import Service, environment

HOST = "localhost"
USERS = ("juliet", "romeo")
INGEST = "ingest.stanzalake"
QUERY = "query.stanzalake"

_KNOWN_WAIT = 20.0
_POLL = 0.02


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


class Deployment:
    """Prosody, and `stanzalake up` on the embedded log and store.

    Args:
        directory: Configuration, secrets, accounts and the archive.
        client_port: Prosody's c2s port; any free port if None.
        settings: Additional settings of the archive.
        ingest: Domains of the ingest components.
        query: Domains of the query components.
        tree: Another checkout to run code and modules from; None for this checkout.

    Attributes:
        prosody: The server.
        services: The archive's processes by name, in starting order.
        passwords: Passwords of the accounts, after the start.
        report: Called with each step of the start that is done.
    """

    def __init__(  # noqa: PLR0913  # one for each part that may differ
        self,
        directory: Path,
        client_port: int | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        host: str = HOST,
        federates: bool = False,
        ingest: Sequence[str] = (INGEST,),
        query: Sequence[str] = (QUERY,),
        tree: Path | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.host = host
        self.client_port = client_port or free_port()
        self.passwords: dict[str, str] = {}
        self.services: dict[str, Service] = {}
        self.report: Callable[[str], None] = lambda _: None
        self._clients: list[Client] = []
        self._tree = tree
        component_port = free_port()
        self.settings = {
            "STANZALAKE_HOSTS": host,
            "STANZALAKE_PROSODY": f"127.0.0.1:{component_port}",
            "STANZALAKE_DATA_DIR": str(self.directory / "archive"),
            "STANZALAKE_COMPONENT_SECRET": self.secret("component-secret"),
            "STANZALAKE_ID_KEYS": self.secret("id-key"),
            **(settings or {}),
        }
        self.prosody = Prosody(
            directory=self.directory / "prosody",
            host=host,
            federates=federates,
            client_port=self.client_port,
            component_port=component_port,
            component_secret=self.settings["STANZALAKE_COMPONENT_SECRET"],
            id_keys=(self.settings["STANZALAKE_ID_KEYS"],),
            ingest=ingest,
            query=query,
            policy=self.settings.get("PROSODY_ARCHIVE_POLICY", "roster"),
            smart=self.settings.get("PROSODY_MAM_SMART_ENABLE") == "true",
            excluded=_items(self.settings.get("PROSODY_ARCHIVE_EXCLUDE_NAMESPACES", "")),
            tree=tree or TREE,
        )
        self._declare()

    @property
    def log(self) -> Path:
        """The log of the first service."""
        return next(iter(self.services.values())).log

    async def start(self) -> None:
        """Start everything, and register the two accounts.

        Raises:
            ProgramFailed: A program ended or is not ready; the text has the end of its log.
        """
        await self.prepare()
        self.prosody.write_config()
        for user in USERS:
            await self.register(user)
            self.report(f"Prosody has the account {user}@{self.host}")
        await self.prosody.start()
        self.report("Prosody listens, with mod_stanzalake")
        await self.start_service()

    async def register(self, user: str) -> None:
        """Register an account; Prosody may be running or not."""
        self.passwords[user] = self.secret(f"password-{user}")
        await self.prosody.register(user, self.passwords[user])

    async def prepare(self) -> None:
        """Start the services' dependencies; there are none for the embedded archive."""

    async def start_service(self) -> None:
        """Start the services, and wait until they are ready."""
        for name, service in self.services.items():
            await service.start()
            self.report(f"{name} works")

    async def stop_service(self) -> int:
        """Stop the services with SIGTERM, and return the highest exit status."""
        return max(await asyncio.gather(*(s.stop() for s in self.services.values())), default=0)

    async def kill_service(self) -> None:
        """Kill the services with SIGKILL."""
        await asyncio.gather(*(service.kill() for service in self.services.values()))

    async def stop(self) -> None:
        """Disconnect the clients and stop everything."""
        for client in self._clients:
            await client.offline()
        await self.stop_service()
        await self.prosody.stop()

    async def wait(self) -> None:
        """Wait until a service ends."""
        waits = [asyncio.ensure_future(service.wait()) for service in self.services.values()]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def client(self, user: str, resource: str = "local", *, known: bool = True) -> Client:
        """Connect a client of an account, until the deployment stops.

        Args:
            user: The account.
            resource: The session's resource.
            known: Whether to wait until Prosody announces ids to it, as `wait_known` does.
        """
        client = Client(f"{user}@{self.host}/{resource}", self.passwords[user], self.client_port)
        await client.online()
        self._clients.append(client)
        if known:
            await self.wait_known(user)
        return client

    async def wait_known(self, user: str) -> None:
        """Wait until Prosody knows an account's preferences, and so announces ids.

        Returns at once while a process of the archive is down, as Prosody learns of none then.

        Raises:
            TimeoutError: Prosody does not know them within 20 seconds.
        """
        if all(service.alive for service in self.services.values()):
            async with asyncio.timeout(_KNOWN_WAIT):
                while not self.prosody.state_file(user).exists():  # noqa: ASYNC110  # files set no event
                    await asyncio.sleep(_POLL)

    def serve_http(self, port: int) -> Mapping[str, str]:
        """Have every service serve HTTP from its next start on, and return the addresses by name.

        Args:
            port: Port of the last service; the others get free ones.
        """
        *others, last = self.services
        ports = {**{name: free_port() for name in others}, last: port}
        addresses = {name: f"{LOOPBACK}:{ports[name]}" for name in self.services}
        for name, address in addresses.items():
            self._add(name, {"STANZALAKE_HTTP_ADDRESS": address})
        self.settings["STANZALAKE_HTTP_ADDRESS"] = addresses[last]
        return addresses

    def serve_analysts(self, port: int) -> str:
        """Have the embedded store serve analysts from its next start on, and return their URL."""
        password, address = self.secret("analyst-password"), f"{LOOPBACK}:{port}"
        settings = {
            "STANZALAKE_ANALYSTS_ADDRESS": address,
            "STANZALAKE_ANALYST_PASSWORD": password,
        }
        self._add("stanzalake", settings)
        self.settings |= settings
        return f"http://stanzalake_analyst:{password}@{address}/"

    def _add(self, name: str, settings: Mapping[str, str]) -> None:
        """Add settings of a service, in force from its next start on."""
        service = self.services[name]
        self.services[name] = replace(service, environment={**service.environment, **settings})

    def write_settings(self) -> Path:
        """Write the settings to a file for `stanzalake --env-file`, and return the path."""
        file = self.directory / "stanzalake.env"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
        return file

    def sql(self) -> str:
        """Describe where SQL is spoken, while the deployment runs."""
        return f"the DSN in {self.directory / 'archive' / 'store.dsn'}"

    def secret(self, name: str) -> str:
        """Return a secret that is kept in the directory."""
        file = self.directory / name
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(24))
        return file.read_text()

    def declare(self, name: str, command: str, settings: Mapping[str, str] | None = None) -> None:
        """Add a service."""
        self.services[name] = self.service(name, command, settings)

    def service(
        self, name: str, command: str, settings: Mapping[str, str] | None = None
    ) -> Service:
        """Create a service; the caller's own settings do not leak into its environment."""
        return Service(
            command=command,
            environment=environment({**self.settings, **(settings or {})}),
            log=self.directory / f"{name}.log",
            tree=self._tree,
        )

    def _declare(self) -> None:
        self.declare("stanzalake", "up")


class Distributed(Deployment):
    """A distributed deployment: Kafka, ClickHouse, and several instances of each service.

    The services of docker-compose.yml, on loopback and without containers.

    Attributes:
        kafka: The broker.
        clickhouse: The engine behind its HTTP interface.
    """

    def __init__(
        self,
        directory: Path,
        client_port: int | None = None,
        settings: Mapping[str, str] | None = None,
        number: int = 2,
        *,
        tree: Path | None = None,
    ) -> None:
        names = range(1, number + 1)
        self.kafka = Kafka(directory=directory / "kafka")
        self.clickhouse = ClickHouse(directory=directory / "clickhouse")
        shared = {
            "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS": self.kafka.address,
            "STANZALAKE_KAFKA_PARTITIONS": "6",
            "STANZALAKE_KAFKA_REPLICATION": "1",
            "STANZALAKE_CLICKHOUSE_DSN": self.clickhouse.dsn(),
            **(settings or {}),
        }
        self._ingest = [f"ingest-{n}.stanzalake" for n in names]
        self._query = [f"query-{n}.stanzalake" for n in names]
        super().__init__(
            directory, client_port, shared, ingest=self._ingest, query=self._query, tree=tree
        )

    async def prepare(self) -> None:
        """Start Kafka and ClickHouse, and apply the migrations."""
        await asyncio.gather(self.kafka.start(), self.clickhouse.start())
        self.report("Kafka and ClickHouse listen")
        migrate = self.service("migrate", "migrate")
        await migrate.launch()
        if await migrate.wait():
            raise ProgramFailed(f"migrate failed:\n{migrate.log.read_text(errors='replace')}")
        self.report("the schema is up to date")

    def sql(self) -> str:
        """Describe where SQL is spoken, while the deployment runs."""
        return self.clickhouse.dsn()

    async def stop(self) -> None:
        """Stop everything, the services first."""
        await super().stop()
        await self.clickhouse.stop()
        await self.kafka.stop()

    def _declare(self) -> None:
        for number, (ingest, query) in enumerate(zip(self._ingest, self._query, strict=True), 1):
            self.declare(f"ingest-{number}", "ingest", {"STANZALAKE_INGEST_JID": ingest})
            self.declare(f"processor-{number}", "processor")
            self.declare(f"query-{number}", "query", {"STANZALAKE_QUERY_JID": query})

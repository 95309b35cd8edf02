"""A real Prosody with stand-ins for ingest and query, and clients, for one test."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from devstack.ports import free_port
from devstack.prosody import Prosody
from tests.support.clients import RawClient
from tests.support.components import Fake, FakeIngest, FakeQuery
from tests.support.wait import until

HOST = "localhost"
JULIET = f"juliet@{HOST}"
ROMEO = f"romeo@{HOST}"
INGEST = "ingest.stanzalake"
QUERY = "query.stanzalake"
KEY = "a key for tests that is long enough"
PASSWORD = "secret"


StartServer = Callable[..., Awaitable["Server"]]


class Server:
    """Prosody, stand-ins and clients of a test.

    Args:
        directory: Prosody's directory.
        options: Lines for the VirtualHost's section.
        prosody: More arguments for Prosody.
    """

    def __init__(self, directory: Path, options: str = "", **prosody: object) -> None:
        arguments: dict[str, object] = {
            "host": HOST,
            "id_keys": [KEY],
            "policy": "true",
            **prosody,
        }
        self.prosody = Prosody(
            directory=directory,
            client_port=free_port(),
            component_port=free_port(),
            extra_host=options,
            **arguments,  # type: ignore[arg-type]  # the tests name them rightly
        )
        self._stack = AsyncExitStack()
        self._tells_states = False
        self._known: set[str] = set()

    async def start(self) -> None:
        """Start Prosody, with the accounts juliet and romeo."""
        self.prosody.write_config()
        for user in ("juliet", "romeo"):
            await self.prosody.register(user, PASSWORD)
        self._stack.push_async_callback(self.prosody.stop)
        await self.prosody.start()

    async def stop(self) -> None:
        """End everything."""
        await self._stack.aclose()

    async def crash(self) -> None:
        """Kill Prosody and start it again."""
        await self.prosody.kill()
        await self.prosody.start()

    async def client(self, user: str, resource: str = "one", available: bool = True) -> RawClient:
        """Give a session of an account, whose state the tap knows if a query component tells it."""
        client = RawClient(f"{user}@{HOST}/{resource}", PASSWORD, self.prosody.client_port)
        self._stack.push_async_callback(client.offline)
        await (client.online() if available else client.bind())
        if self._tells_states and user not in self._known:
            await until(self.prosody.state_file(user).exists)
            self._known.add(user)
        return client

    async def ingest(self, jid: str = INGEST) -> FakeIngest:
        """Give a connected ingest component."""
        fake = FakeIngest(jid, self.prosody.component_secret, self.prosody.component_port)
        self._stack.push_async_callback(fake.stop)
        await fake.start()
        return fake

    async def component(self, jid: str, secret: str) -> Fake:
        """Give a connected component of another kind."""
        fake = Fake(jid, secret, self.prosody.component_port)
        self._stack.push_async_callback(fake.stop)
        await fake.start()
        return fake

    async def query(self, jid: str = QUERY, busy: bool = False) -> FakeQuery:
        """Give a connected query component; a busy one refuses to tell states."""
        fake = FakeQuery(jid, self.prosody.component_secret, self.prosody.component_port)
        if busy:
            fake.tell = lambda asked: fake.error(asked.outer, "wait", "resource-constraint")
        self._stack.push_async_callback(fake.stop)
        await fake.start()
        self._tells_states = True
        return fake

    @property
    def journal(self) -> Path:
        """The tap's journal."""
        return self.prosody.data_path / HOST / "stanzalake"

    @property
    def log(self) -> str:
        """Prosody's log so far."""
        return self.prosody.log_path.read_text()

"""A Prosody with mod_stanzalake on loopback, for `make up`, demos and tests."""

import asyncio
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from devstack.debian import inside
from devstack.process import ProgramFailed, Server

LOOPBACK = "127.0.0.1"
TREE = Path(__file__).parents[1]
"""The checkout that this file belongs to."""
MODULES = TREE / "prosody"
"""The directory of mod_stanzalake."""

_CONFIG = """\
run_as_root = {run_as_root}
daemonize = false
pidfile = {pidfile}
data_path = {data}
admin_socket = {admin_socket}
plugin_paths = {plugin_paths}
log = {{ {{ levels = {{ min = "info" }}, to = "console", timestamps = true }} }}

interfaces = {{ {loopback} }}
component_interfaces = {{ {loopback} }}
c2s_ports = {{ {client_port} }}
component_ports = {{ {component_port} }}
network_settings = {{ nagle = false }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_hashed"
storage = {storage}

modules_enabled = {{
	"admin_shell", "blocklist", "carbons", "dialback", "disco", "ping", "posix", "roster",
	"saslauth", "smacks"
}}
modules_disabled = {{ {disabled} }}
s2s_interfaces = {federated}
s2s_require_encryption = false
s2s_secure_auth = false
{extra_global}

VirtualHost {host}
modules_enabled = {modules}
stanzalake_id_keys = {id_keys}
stanzalake_ingest = {ingest}
stanzalake_query = {query}
stanzalake_policy = {policy}
stanzalake_smart = {smart}
stanzalake_exclude_namespaces = {excluded}
{extra_host}
"""


def _lua(value: bool | str | Path | Sequence[str]) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str | Path):
        # Lua reads a JSON string as the same text, as long as nothing needs a \\u escape.
        return json.dumps(str(value), ensure_ascii=False)
    return "{ " + ", ".join(_lua(item) for item in value) + " }"


def _secret() -> str:
    return secrets.token_hex(32)


@dataclass(kw_only=True)
class Prosody(Server):
    """A Prosody process and its directory.

    Attributes:
        directory: Where configuration, data and log are; made if missing.
        host: The VirtualHost; of a server that federates, an IPv4 address of loopback.
        federates: Whether other servers can reach it, at port 5269 of the host's address: a
            domain that is an address needs no DNS (RFC 6120 §3.2.3).
        components: Further hosts that other servers can reach, which are addresses as well.
        client_port: Port for clients, plain text.
        component_port: Port for external components.
        component_secret: Secret of every component.
        id_keys: Keys that seal message ids, the sealing one first.
        ingest: Names of the ingest components.
        query: Names of the query components.
        policy: The archiving policy, as PROSODY_ARCHIVE_POLICY.
        smart: Whether smart archiving is on.
        excluded: Excluded namespaces besides the defaults.
        modules: Modules of the VirtualHost besides the usual ones of a chat server.
        extra_host: Lines for the VirtualHost's section of the configuration.
        extra_global: Lines for the global section.
        module_dirs: Further directories with Prosody modules.
        environment: More variables of the process.
        root: Directory of another Debian whose Prosody to run; None for this machine's.
        default_root: The `root` of those that are made without one.
        tree: The checkout whose modules are loaded.
    """

    default_root: ClassVar[Path | None] = None

    directory: Path
    client_port: int
    component_port: int
    host: str = "localhost"
    federates: bool = False
    components: Sequence[str] = ()
    component_secret: str = field(default_factory=_secret, repr=False)
    id_keys: Sequence[str] = field(default_factory=lambda: [_secret()], repr=False)
    ingest: Sequence[str] = ("ingest.stanzalake",)
    query: Sequence[str] = ("query.stanzalake",)
    policy: str = "roster"
    smart: bool = False
    excluded: Sequence[str] = ()
    modules: Sequence[str] = ("stanzalake",)
    extra_host: str = ""
    extra_global: str = ""
    module_dirs: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    root: Path | None = field(default_factory=lambda: Prosody.default_root)
    tree: Path = TREE
    stop_wait: ClassVar[float] = 10.0

    @property
    def config_path(self) -> Path:
        """The configuration file, private because of its secrets."""
        return self.directory / "prosody.cfg.lua"

    @property
    def data_path(self) -> Path:
        """Prosody's data directory."""
        return self.directory / "data"

    @property
    def log_path(self) -> Path:
        """Prosody's log, across restarts."""
        return self.directory / "prosody.log"

    def write_config(self) -> None:
        """Write or replace the configuration file."""
        # Prosody looks for certificates beside its configuration, and complains if it cannot.
        for directory in (self.data_path, self.directory / "certs"):
            directory.mkdir(parents=True, exist_ok=True)
        scratch = self.config_path.with_suffix(".new")
        scratch.unlink(missing_ok=True)
        scratch.touch(mode=0o600)
        scratch.write_text(self._config())
        scratch.replace(self.config_path)

    async def register(self, user: str, password: str) -> None:
        """Register an account or change its password, whether Prosody runs or not.

        Args:
            user: The local part of the JID.
            password: The account's password.

        Raises:
            ProgramFailed: prosodyctl refused.
        """
        code, output = await self.control("register", user, self.host, password)
        if code:
            raise ProgramFailed(f"prosodyctl register {user}: {output}")

    async def control(
        self, *arguments: str, typed: str = "", within: Sequence[str] = ()
    ) -> tuple[int, str]:
        """Run prosodyctl, whether Prosody runs or not.

        Args:
            arguments: The command line.
            typed: Text for the standard input.
            within: Command line that runs prosodyctl.

        Returns:
            Exit status and output.
        """
        process = await asyncio.create_subprocess_exec(
            *inside(
                self.root, *within, "prosodyctl", "--config", str(self.config_path), *arguments
            ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(typed.encode())
        return await process.wait(), output.decode(errors="replace")

    def state_file(self, user: str) -> Path:
        """Give the file that mod_stanzalake keeps once it knows an account's preferences."""
        host = "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in self.host)
        return self.data_path / host / "stanzalake_preferences" / f"{user}.dat"

    async def start(self) -> None:
        """Start the process and wait until it serves both ports.

        Raises:
            ProgramFailed: It ended, could not listen, or did not within a minute.
        """
        self.write_config()
        await self._launch(
            *inside(self.root, "prosody", "-F", "--config", self.config_path),
            environment={**os.environ, **self.environment},
        )
        await self._works(self._listens)
        async with asyncio.timeout(self.start_wait):
            await self._answers()

    def _config(self) -> str:
        secret = _lua(self.component_secret)
        components = (
            f"Component {_lua(jid)}\ncomponent_secret = {secret}\n"
            for jid in (*self.ingest, *self.query)
        )
        return self._host_config() + "".join(components)

    def _host_config(self) -> str:
        return _CONFIG.format(
            run_as_root=_lua(self.root is not None or os.geteuid() == 0),
            pidfile=_lua(self.directory / "prosody.pid"),
            data=_lua(self.data_path),
            admin_socket=_lua(self.directory / "prosody.sock"),
            plugin_paths=_lua([str(path) for path in (self.tree / "prosody", *self.module_dirs)]),
            loopback=_lua(LOOPBACK),
            client_port=self.client_port,
            component_port=self.component_port,
            # Another archive of Prosody's keeps its messages in a store of the same name.
            storage='{ archive = "stanzalake" }' if "stanzalake" in self.modules else '"internal"',
            disabled='"tls"' if self.federates else '"s2s", "dialback", "tls"',
            extra_global=self.extra_global,
            host=_lua(self.host),
            federated=_lua([self.host, *self.components]),
            modules=_lua(self.modules),
            id_keys=_lua(self.id_keys),
            ingest=_lua(self.ingest),
            query=_lua(self.query),
            policy=_lua(self.policy),
            smart=str(self.smart).lower(),
            excluded=_lua(self.excluded),
            extra_host=self.extra_host,
        )

    def _listens(self) -> bool:
        # Another process may listen on these ports: what counts is that this one says so.
        output = self._output()
        if "Failed to open server port" in output:
            raise self._failure("could not listen")
        return all(f"[{LOOPBACK}]:{x}" in output for x in (self.component_port, self.client_port))

    async def _answers(self) -> None:
        # The kernel accepts earlier; an answer, here a stream error, comes once all is loaded.
        reader, writer = await asyncio.open_connection(LOOPBACK, self.client_port)
        try:
            writer.write(b"<ready/>")
            await reader.read()
        finally:
            writer.close()

"""ClickHouse's engine (chDB) behind ClickHouse's HTTP interface: for tests and the local demo.

It is no ClickHouse server: no native protocol, no sessions, no quotas, and `ON CLUSTER` has
nobody to talk to. What is real is the engine with its access control, the data directory, and as
much of HTTP as the client in use needs: parameters, settings, Native inserts, compression both
ways, errors as the server writes them.

A data directory is laid out like a server's configuration: `users.d/*.xml` defines users, what
they are granted and their profiles, `config.d/*.xml` all else. If no file defines a user,
`default` may do everything, without a password.
"""

import base64
import contextlib
import email
import email.policy
import gzip
import json
import os
import re
import secrets
import signal
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree as ET

import chdb
import click
import zstandard

HOST = "127.0.0.1"
DATABASE = "stanzalake"

_AUTHENTICATION_FAILED = 516
_NOT_IMPLEMENTED = 48
_EVERYTHING = "<grants><query>GRANT ALL ON *.*</query></grants>"
_CONFIG = """\
<clickhouse>
    <users_config>{users}</users_config>
</clickhouse>
"""
_USERS = """\
<clickhouse>
    <users><default>
        <password></password>
        <networks><ip>::/0</ip></networks>
        <profile>default</profile>
        <quota>default</quota>
        <grants>{grants}</grants>
    </default></users>
    <roles>{roles}</roles>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
</clickhouse>
"""
_NO_SETTINGS = frozenset(
    {"query", "database", "user", "password", "query_id", "session_id", "wait_end_of_query"}
)
"""Parameters of a request that are no settings of the engine."""
_INSERT = re.compile(rb"\s*(INSERT\s[^\n]*?)\s+FORMAT\s+(\w+)\s*\n", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)\..*", re.DOTALL)
# Clients compress block by block: a body is many frames.
_DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "zstd": lambda data: (
        zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    ),
    "gzip": gzip.decompress,
    "": lambda data: data,
}
_ENCODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "zstd": zstandard.compress,
    "gzip": gzip.compress,
}


class Refused(Exception):
    """The engine's answer is an error.

    Args:
        text: As the server writes it: ``Code: 60. DB::Exception: ...``.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        match = _CODE.search(text)
        self.code = int(match[1]) if match else 1001
        self.text = match[0] if match else text


class Account(NamedTuple):
    """A user, as a file of `users.d` defines it.

    Attributes:
        name: What it authenticates with.
        password: In plain text.
        profile: Its settings.
        grants: What it may do, as the file says it.
    """

    name: str = "default"
    password: str = ""
    profile: str = "default"
    grants: str = _EVERYTHING

    @property
    def role(self) -> str:
        """The role that has its grants."""
        return f"{self.name}_role"


@dataclass
class Request:
    """One statement with what belongs to it."""

    statement: bytes
    database: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


class Engine:
    """The engine on a directory.

    Args:
        directory: Configuration and data; made if missing.
    """

    def __init__(self, directory: Path) -> None:
        (directory / "users.d").mkdir(parents=True, exist_ok=True)
        self.accounts = _accounts(directory / "users.d")
        config = _write_config(directory, {Account(), *self.accounts.values()})
        self._path = f"{directory / 'store'}?config-file={config}"
        # The engine lives as long as one connection does.
        self._keeper = chdb.connect(self._path)  # type: ignore[no-untyped-call]
        self._keeper.query(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")

    def run(self, account: Account, request: Request) -> bytes:
        """Give a statement's result in its format, TabSeparated by default.

        Raises:
            Refused: The engine says no.
        """
        connection = chdb.connect(self._path)  # type: ignore[no-untyped-call]
        try:
            for statement in _preparation(account, request):
                connection.query(statement)
            with _loaded(request.statement) as loaded:
                result = connection.query(loaded, "TabSeparated", params=request.parameters)
            return bytes(result.bytes() or b"")
        except RuntimeError as error:  # the base of the engine's own
            raise Refused(str(error)) from None
        finally:
            connection.close()

    def close(self) -> None:
        """Stop the engine; what was inserted stays."""
        self._keeper.close()


def _accounts(directory: Path) -> dict[str, Account]:
    accounts = [
        _account(user)
        for file in sorted(directory.glob("*.xml"))
        for user in ET.parse(file).iterfind("users/*")  # noqa: S314  # the operator's own file
    ]
    return {account.name: account for account in accounts or [Account()]}


def _account(user: ET.Element) -> Account:
    password = user.find("password")
    given = {} if password is None else password.attrib
    text = os.environ[given["from_env"]] if "from_env" in given else user.findtext("password", "")
    grants = "".join(ET.tostring(found, "unicode") for found in user.iterfind("grants"))
    return Account(user.tag, text, user.findtext("profile", "default"), grants)


def _write_config(directory: Path, accounts: Iterable[Account]) -> Path:
    """Write the configuration: connections are the engine's user, and take an account's role."""
    roles = "".join(f"<{a.role}>{a.grants}</{a.role}>" for a in accounts)
    grants = "".join(f"<query>GRANT {a.role}</query>" for a in accounts)
    users, config = directory / "users.xml", directory / "config.xml"
    users.write_text(_USERS.format(grants=grants, roles=roles))
    config.write_text(_CONFIG.format(users=users))
    return config


def _preparation(account: Account, request: Request) -> Iterator[str]:
    if request.database:
        yield f"USE `{request.database.replace('`', '')}`"
    yield f"SET ROLE {account.role}"
    yield f"SET profile = {_literal(account.profile)}"
    for name, value in request.settings.items():
        yield f"SET `{name.replace('`', '')}` = {_literal(value)}"


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@contextlib.contextmanager
def _loaded(statement: bytes) -> Iterator[bytes]:
    """Put an insert's rows into a file: the engine takes binary ones from nowhere else."""
    head = _INSERT.match(statement)
    if head is None:
        yield statement
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(statement[head.end() :])
        file.flush()
        yield b"%s FROM INFILE '%s' FORMAT %s" % (head[1], file.name.encode(), head[2])


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: two would wait for each other's acknowledgement
    engine: Engine

    def do_GET(self) -> None:
        """Answer a statement of the URL, or a ping."""
        if urlsplit(self.path).path == "/ping":
            self._answer(HTTPStatus.OK, b"Ok.\n")
        else:
            self.do_POST()

    def do_POST(self) -> None:
        """Answer a statement of the body, the URL, or a form."""
        url = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        user, password = self._credentials(url)
        self._say(user=user, encoding=self.headers.get("Content-Encoding", ""))
        raw = self._raw_body()
        try:
            body = self._decoded(raw)
            request = _request({**url, **self._form(body)}, b"" if self._is_form else body)
            result = self.engine.run(self._account(user, password), request)
        except Refused as refused:
            self._refuse(refused)
        else:
            self._answer(HTTPStatus.OK, result, compress=url.get("enable_http_compression") != "0")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Say nothing: `_say` does."""

    def _say(self, **facts: object) -> None:
        print(json.dumps(facts), file=sys.stderr, flush=True)  # noqa: T201  # the access log

    def _credentials(self, url: Mapping[str, str]) -> tuple[str, str]:
        kind, _, coded = self.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            user, _, password = base64.b64decode(coded).decode().partition(":")
            return user, password
        if "X-ClickHouse-User" in self.headers:
            return self.headers["X-ClickHouse-User"], self.headers.get("X-ClickHouse-Key", "")
        return url.get("user", "default"), url.get("password", "")

    def _account(self, user: str, password: str) -> Account:
        account = self.engine.accounts.get(user)
        if account is None or not secrets.compare_digest(
            account.password.encode(), password.encode()
        ):
            raise Refused(
                f"Code: {_AUTHENTICATION_FAILED}. DB::Exception: {user}: Authentication failed: "
                "password is incorrect, or there is no user with such name. "
                "(AUTHENTICATION_FAILED)"
            )
        return account

    @property
    def _is_form(self) -> bool:
        return self.headers.get_content_type() == "multipart/form-data"

    def _form(self, body: bytes) -> dict[str, str]:
        if not self._is_form:
            return {}
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        return {
            part["Content-Disposition"].params["name"]: part.get_content()
            for part in form.iter_parts()
        }

    def _raw_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _decoded(self, raw: bytes) -> bytes:
        encoding = self.headers.get("Content-Encoding", "")
        if encoding not in _DECODERS:
            raise Refused(
                f"Code: {_NOT_IMPLEMENTED}. DB::Exception: "
                f"Unknown content encoding: {encoding}. (NOT_IMPLEMENTED)"
            )
        return _DECODERS[encoding](raw)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _refuse(self, refused: Refused) -> None:
        denied = refused.code == _AUTHENTICATION_FAILED
        status = HTTPStatus.FORBIDDEN if denied else HTTPStatus.INTERNAL_SERVER_ERROR
        headers = {"X-ClickHouse-Exception-Code": str(refused.code)}
        self._answer(status, f"{refused.text}\n".encode(), headers)

    def _answer(
        self,
        status: HTTPStatus,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        compress: bool = False,
    ) -> None:
        accepted = self.headers.get("Accept-Encoding", "").replace(" ", "").split(",")
        encoding = next((name for name in accepted if compress and name in _ENCODERS), "")
        content = _ENCODERS[encoding](body) if encoding else body
        self._say(status=status.value, encoding=encoding)
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        self.wfile.write(content)


def _request(given: Mapping[str, str], body: bytes) -> Request:
    prefix = "param_"
    query = given.get("query", "").encode()
    return Request(
        statement=b"\n".join(part for part in (query, body) if part),
        database=given.get("database", ""),
        parameters={k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)},
        settings={
            k: v
            for k, v in given.items()
            if k not in _NO_SETTINGS and not k.startswith((prefix, "client_protocol_version"))
        },
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event; anything else is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--certificate", help="PEM file with a key and a certificate: serve TLS.")
def main(port: int, data: Path, certificate: str | None) -> None:
    """Serve until SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Handler.engine = Engine(data)
    server = _Server((HOST, port), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stop.wait()
    server.shutdown()
    Handler.engine.close()


if __name__ == "__main__":
    main()

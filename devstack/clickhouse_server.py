"""ClickHouse's engine (chDB) as an HTTP server with users, for tests and the local demo.

Not a ClickHouse server: offers the HTTP interface of `stanzalake.store.chdb.http` and the engine's
access control, and cannot execute `ON CLUSTER`.

The data directory is laid out like a server's configuration: `users.d/*.xml` defines users, their
grants and profiles, `config.d/*.xml` everything else. Without a user definition, `default` has all
rights and no password.
"""

import asyncio
import json
import os
import secrets
import signal
import ssl
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import click
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from stanzalake.store.chdb import http
from stanzalake.store.chdb.engine import Engine, Statement
from stanzalake.store.chdb.http import HOST
from stanzalake.store.statement import literal

DATABASE = "stanzalake"

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


class Account(NamedTuple):
    """A user defined in `users.d`.

    Attributes:
        name: User name.
        password: Password in plain text.
        profile: Settings profile.
        grants: The grants as XML.
    """

    name: str = "default"
    password: str = ""
    profile: str = "default"
    grants: str = _EVERYTHING

    @property
    def role(self) -> str:
        """The role that has the user's grants."""
        return f"{self.name}_role"

    @property
    def preparation(self) -> Sequence[str]:
        """Statements that switch a connection to this user."""
        return f"SET ROLE {self.role}", f"SET profile = {literal(self.profile)}"


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
    """Write the configuration: connections use the engine's user, with the role of an account."""
    roles = "".join(f"<{a.role}>{a.grants}</{a.role}>" for a in accounts)
    grants = "".join(f"<query>GRANT {a.role}</query>" for a in accounts)
    users, config = directory / "users.xml", directory / "config.xml"
    users.write_text(_USERS.format(grants=grants, roles=roles))
    config.write_text(_CONFIG.format(users=users))
    return config


def _log_in(accounts: dict[str, Account]) -> http.LogIn:
    def log_in(user: str, password: str) -> Sequence[str]:
        account = accounts.get(user)
        if account is None or not secrets.compare_digest(
            account.password.encode(), password.encode()
        ):
            raise http.authentication_failed(user)
        return account.preparation

    return log_in


@web.middleware
async def _logged(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Log each request and its response."""
    waits = {name: value for name, value in request.query.items() if name.endswith("async_insert")}
    _say(path=request.path, encoding=request.headers.get(hdrs.CONTENT_ENCODING, ""), **waits)
    response = await handler(request)
    _say(status=response.status, encoding=response.headers.get(hdrs.CONTENT_ENCODING, ""))
    return response


def _say(**facts: object) -> None:
    print(json.dumps(facts), file=sys.stderr, flush=True)  # noqa: T201  # the access log


async def _serve(port: int, data: Path, tls: ssl.SSLContext | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    (data / "users.d").mkdir(parents=True, exist_ok=True)
    accounts = _accounts(data / "users.d")
    config = _write_config(data, {Account(), *accounts.values()})
    engine = Engine(f"{data / 'store'}?config-file={config}")
    engine.run(Statement(f"CREATE DATABASE IF NOT EXISTS {DATABASE}".encode()))
    runner = http.runner(engine, _log_in(accounts), [_logged])
    await runner.setup()
    await web.TCPSite(runner, HOST, port, ssl_context=tls).start()
    await stop.wait()
    await runner.cleanup()
    engine.close()


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--certificate", help="PEM file with a key and a certificate: serve TLS.")
def main(port: int, data: Path, certificate: str | None) -> None:
    """Serve until SIGTERM."""
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    asyncio.run(_serve(port, data, tls))


if __name__ == "__main__":
    main()

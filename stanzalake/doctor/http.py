"""The HTTP address: free, or served by a running service."""

import json
import socket
from collections.abc import Sequence

import aiohttp

from stanzalake.config.settings import Settings
from stanzalake.doctor.finding import Finding, fault, fine, warning

_TIMEOUT = aiohttp.ClientTimeout(total=5)
_READY = 200


async def check(settings: Settings) -> Sequence[Finding]:
    """Ask the address for /readyz; if nobody answers, try to bind to the address."""
    return [await _check(host, port) for host, port in settings.http]


async def _check(host: str, port: int) -> Finding:
    subject = f"HTTP {host}:{port}"
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.get(f"http://{f'[{host}]' if ':' in host else host}:{port}/readyz") as answer,
        ):
            return _readiness(subject, answer.status, await answer.text())
    except aiohttp.ClientConnectorError:
        return _bind(subject, host, port)
    except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
        return _foreign(subject)


def _readiness(subject: str, status: int, text: str) -> Finding:
    try:
        parts: dict[str, bool] = json.loads(text)
        down = [name for name, up in parts.items() if not up]
    except (ValueError, AttributeError):
        return _foreign(subject)
    if status == _READY:
        return fine(subject, f"served by a running service; up: {', '.join(parts)}")
    return warning(
        subject,
        f"served by a running service, of which is down: {', '.join(down) or 'everything'}",
        "look at that service's log, and at the other findings here",
    )


def _bind(subject: str, host: str, port: int) -> Finding:
    try:
        [address, *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(address[0], address[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address[4])
    except OSError as error:
        return fault(
            subject,
            f"cannot be listened on: {error.strerror}",
            "set STANZALAKE_HTTP_ADDRESS to an address of this machine and a free port",
        )
    return fine(subject, "free: no service runs with it just now")


def _foreign(subject: str) -> Finding:
    return fault(
        subject,
        "taken by another program",
        "set STANZALAKE_HTTP_ADDRESS to another port, or end that program",
    )

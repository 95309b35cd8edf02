"""Permissions that hosts grant on a connection (XEP-0355 §4.2, XEP-0356 §4.2)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stanzalake.xmpp.namespaces import DELEGATION, MAM, PRIVILEGE, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


class Grants:
    """Keeps the last announcement of each kind of each host.

    Args:
        hosts: The hosts whose announcements count; anybody can send the component a message.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = frozenset(hosts)
        self._delegated: set[str] = set()
        self._sending: set[str] = set()

    def known(self, host: str | None) -> bool:
        """Return whether an address is exactly that of a host."""
        return host in self._hosts

    def complete(self, host: str) -> bool:
        """Return whether a host delegates its users' requests and lets results be sent to them."""
        return host in self._delegated and host in self._sending

    def hear(self, message: "Element") -> None:
        """Apply the announcements in a message from a host."""
        host = message.get("from")
        if host is None or not self.known(host):
            return
        for announcement in message.findall(tag(DELEGATION, "delegation")):
            _keep(self._delegated, host, _delegates(announcement))
        for announcement in message.findall(tag(PRIVILEGE, "privilege")):
            _keep(self._sending, host, _lets_send(announcement))

    def forget(self) -> None:
        """Revoke everything, when the connection ends."""
        self._delegated.clear()
        self._sending.clear()


def _keep(hosts: set[str], host: str, granted: bool) -> None:
    if granted:
        hosts.add(host)
    else:
        hosts.discard(host)


def _delegates(announcement: "Element") -> bool:
    return any(
        delegated.get("namespace") == MAM
        for delegated in announcement.findall(tag(DELEGATION, "delegated"))
    )


def _lets_send(announcement: "Element") -> bool:
    return any(
        (perm.get("access"), perm.get("type")) == ("message", "outgoing")
        for perm in announcement.findall(tag(PRIVILEGE, "perm"))
    )

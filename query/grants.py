"""What the hosts have granted on this connection (XEP-0355 §4.2, XEP-0356 §4.2)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stanzalake.xmpp.namespaces import DELEGATION, MAM, PRIVILEGE, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


class Grants:
    """Remembers the last announcement of each kind of each host.

    Args:
        hosts: The only ones whose announcements count; anybody can send the component a message.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = frozenset(hosts)
        self._delegated: set[str] = set()
        self._sending: set[str] = set()

    def known(self, host: str | None) -> bool:
        """Tell whether an address is exactly one of the hosts."""
        return host in self._hosts

    def complete(self, host: str) -> bool:
        """Tell whether a host gave both: its users' requests, and sending them the results."""
        return host in self._delegated and host in self._sending

    def hear(self, message: "Element") -> None:
        """Take in a message from a host; one that announces nothing changes nothing."""
        host = message.get("from")
        if host is None or not self.known(host):
            return
        for announcement in message.findall(tag(DELEGATION, "delegation")):
            _keep(self._delegated, host, _delegates(announcement))
        for announcement in message.findall(tag(PRIVILEGE, "privilege")):
            _keep(self._sending, host, _lets_send(announcement))

    def forget(self) -> None:
        """Forget everything: the connection is gone."""
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

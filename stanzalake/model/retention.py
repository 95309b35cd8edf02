"""Retention: for how long messages are kept, by the host of their archive."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stanzalake.model.position import seconds_ago


@dataclass(frozen=True)
class Retention:
    """For how long messages are kept; periods in seconds, None for ever.

    Attributes:
        default: The period on hosts without one of their own.
        hosts: The periods of single hosts.
    """

    default: int | None = None
    hosts: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def periods(self) -> tuple[int | None, ...]:
        """The default period, and those of the hosts."""
        return self.default, *self.hosts.values()

    def of_host(self, host: str) -> int | None:
        """Return the period of a host."""
        return self.hosts.get(host, self.default)

    def horizon(self, owner: str, now: float) -> int:
        """Return the lowest position that is kept in an archive.

        Args:
            owner: Bare JID of the archive's owner.
            now: Unix time in seconds.
        """
        return seconds_ago(self.of_host(owner.rpartition("@")[2]), now)

    def lowest_horizon(self, now: float) -> int:
        """Return the lowest position that is kept in any archive, see `horizon`."""
        return min(seconds_ago(period, now) for period in self.periods)

    def longest(self, other: "Retention") -> "Retention":
        """Return the longer period of two retentions for each host."""
        hosts = sorted({*self.hosts, *other.hosts})
        return Retention(
            _longer(self.default, other.default),
            {host: _longer(self.of_host(host), other.of_host(host)) for host in hosts},
        )


FOREVER = Retention()
"""Nothing expires."""


def _longer(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)

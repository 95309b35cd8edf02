"""The taps that may send batches, and the detection of two Prosodys that serve one VirtualHost."""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from stanzalake.observability.log_once import LogOnce
from stanzalake.observability.metrics import WRITER_CONFLICTS

_ALIVE_SECONDS = 600.0
"""A Prosody that came back later than this had handed over, and took over again."""
_MAX_INSTANCES = 16


@dataclass(slots=True)
class _Host:
    """The Prosodys that sent batches of a host.

    Attributes:
        current: Instance of the last batch.
        heard: Time of the last batch of each instance, monotonic seconds.
        conflict: Logs a conflict once.
    """

    conflict: LogOnce
    current: str = ""
    heard: dict[str, float] = field(default_factory=dict)


class Taps:
    """The taps of the VirtualHosts, shared by the connections of a process.

    Args:
        hosts: The VirtualHosts whose taps may send batches.
        clock: Returns monotonic seconds.
    """

    def __init__(self, hosts: Collection[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts = {host: _Host(LogOnce(__name__)) for host in hosts}

    def __contains__(self, host: str) -> bool:
        """Return whether a JID is a tap's."""
        return host in self._hosts

    def note(self, host: str, instance: str) -> None:
        """Note a batch; report an instance that goes on after another took over.

        Args:
            host: The VirtualHost.
            instance: Id of the journal that the batch comes from; empty if the tap sends none.
        """
        if not instance:
            return
        state = self._hosts[host]
        now = self._clock()
        last = state.heard.pop(instance, None)
        if instance != state.current and last is not None and now - last < _ALIVE_SECONDS:
            self._report(host, state, instance)
        state.current = instance
        state.heard[instance] = now
        if len(state.heard) > _MAX_INSTANCES:
            del state.heard[next(iter(state.heard))]

    @staticmethod
    def _report(host: str, state: _Host, instance: str) -> None:
        WRITER_CONFLICTS.inc()
        both = " and ".join(sorted((state.current, instance)))
        state.conflict.begin(
            f"two Prosodys write the archives of {host} (instances {both}): messages with equal "
            "positions are lost as repeats. Let one Prosody serve a VirtualHost",
            logging.ERROR,
        )

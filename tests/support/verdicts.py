"""Verdicts of the tap and of the processor on the same messages."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from xml.sax.saxutils import quoteattr

from devstack.prosody import MODULES
from processor.batch import Rules, assemble, decode_records
from processor.policy import Policy
from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from stanzalake.log.base import Record
from stanzalake.model.event import VERSION, Activation, Preferences
from stanzalake.model.history import History
from tests.support.events import JULIET, ROMEO, uncut
from tests.support.lua import environment

TABLE = Path(__file__).with_name("verdicts.json")

_SCRIPT = Path(__file__).parents[1] / "unit" / "lua" / "judge.lua"
_POSITION = 117650718720000000


class Case(NamedTuple):
    """A message, and everything that its verdict depends on.

    Attributes:
        policy: The server's policy.
        smart: Whether smart archiving is on.
        excluded: Excluded namespaces, besides the defaults.
        contact: Whether the peer is in the owner's roster.
        state: The state of the owner's archive, as in the table; None if the tap does not know it.
        stanza: The message as a client sends it.
        peer: Bare JID of the other party.
        resource: Its resource; empty without one.
    """

    policy: Any
    smart: bool
    excluded: Sequence[str]
    contact: bool
    state: Mapping[str, Any] | None
    stanza: str
    peer: str = ROMEO
    resource: str = "orchard"


class TapVerdict(NamedTuple):
    """The tap's verdict.

    Attributes:
        word: yes, no or unknown.
        event: The event that the journal would get; empty if the message is not eligible.
    """

    word: str
    event: bytes


class Tap:
    """The tap's pure parts in a Lua process of their own."""

    def __enter__(self) -> Self:
        """Start the process."""
        self._process = subprocess.Popen(  # noqa: S603  # fixed arguments
            ["lua5.4", _SCRIPT, MODULES / "mod_stanzalake"],  # noqa: S607  # wherever it is installed
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        with self._process:
            self._process.terminate()

    def judge(self, case: Case) -> TapVerdict:
        """Give the tap's verdict on a case."""
        fields = {
            "policy": case.policy,
            "smart": case.smart,
            "exclude_namespaces": case.excluded,
            "contact": case.contact,
            "owner": JULIET,
            "peer": case.peer,
            "peer_resource": case.resource,
            "position": _POSITION,
            "stanza": case.stanza,
            **({} if case.state is None else {"state": case.state}),
        }
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(fields).encode() + b"\n")
        stdin.flush()
        word, _, event = stdout.readline().rstrip(b"\n").partition(b" ")
        return TapVerdict(word.decode(), event)


def archived(case: Case, event: bytes) -> bool:
    """Tell whether the processor makes a row of an event."""
    rules = Rules(Policy(case.policy, case.smart), DEFAULT_EXCLUSIONS.union(case.excluded))
    decoded = decode_records([Record(0, 1, JULIET, event)])
    batch = assemble(decoded, {JULIET: _history(case.state)}, rules, uncut)
    assert not batch.dead_letters, batch.dead_letters
    return bool(batch.rows)


def _history(state: Mapping[str, Any] | None) -> History:
    """Give a history that comes to a state, right before the message."""
    if not (state and state["activated"]):
        return ()
    base: dict[str, Any] = {"v": VERSION, "owner": JULIET, "position": _POSITION - 1}
    if "default" not in state:
        return (Activation(**base),)
    lists: dict[str, Any] = {name: tuple(state[name]) for name in ("always", "never")}
    return (Preferences(**base, default=state["default"], **lists),)


def message(kind: str, children: str, to: str = JULIET, sender: str = f"{ROMEO}/orchard") -> str:
    """Give a message as a client sends it; an empty kind is no type."""
    type_ = f" type={quoteattr(kind)}" if kind else ""
    return f"<message from={quoteattr(sender)} to={quoteattr(to)}{type_}>{children}</message>"

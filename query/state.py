"""State: an owner's preferences and activation in force, as the module is told of them."""

import json
from typing import ClassVar

from query.errors import StanzaError
from query.question import Answer, QueryContext, Reads
from query.request import State
from stanzalake.model.event import Erasure, Preferences
from stanzalake.model.history import History, merge
from stanzalake.model.page import ArchiveRetention


class StateQuestion:
    """A request of the host itself for an owner's state."""

    kind: ClassVar[str] = "state"
    filtered: ClassVar[bool] = False
    by_text: ClassVar[bool] = False
    reads: ClassVar[Reads] = "preferences"
    activates: ClassVar[bool] = False

    async def answer(self, context: QueryContext) -> Answer:
        """Read the owner's history.

        Raises:
            StanzaError: resource-constraint if the store may lack a change.
        """
        if not context.stable:
            raise StanzaError("resource-constraint", "the archive is behind: try again later")
        archive = context.archive
        return Answer("", history=await archive.history(), retention=await archive.retention())


async def state_after(
    answer: Answer, context: QueryContext, activated: History | None
) -> State | None:
    """Give the owner's state in force once a question is answered.

    Args:
        answer: The answer.
        context: Source of the answer.
        activated: The history with an activation by the question; None without smart archiving.

    Returns:
        The state; None if the store may lack a change.
    """
    if answer.history is None and not context.stable:
        return None
    if answer.history is None and activated is None:
        return describe(await context.archive.history())
    return describe(merge(answer.history or (), activated or ()), answer.retention)


def describe(history: History, retention: ArchiveRetention | None = None) -> State:
    """Give the position of the last change of an owner's state, and the state as JSON.

    The object has ``default`` (absent if the owner has no preferences), ``always``, ``never`` and
    ``activated``: whether the owner has asked for the archive since the account was made. If the
    retention is given, ``own_retention`` and ``host_retention`` have its seconds; absent for none.
    """
    changes = [s for s in history if not isinstance(s, Erasure) or s.account]
    preferences = next((s for s in reversed(changes) if isinstance(s, Preferences)), None)
    state: dict[str, object] = {
        "activated": any(not isinstance(s, Erasure) for s in changes),
        "always": preferences.always if preferences else (),
        "never": preferences.never if preferences else (),
    }
    if preferences is not None:
        state["default"] = preferences.default
    if retention is not None and retention.own:
        state["own_retention"] = retention.own
    if retention is not None and retention.host is not None:
        state["host_retention"] = retention.host
    position = changes[-1].position if changes else 0
    return State(position, json.dumps(state, ensure_ascii=False).encode())

"""The questions that clients ask of an archive, as the archive reader takes them and as XMPP."""

import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from bench.corpus import DAY, HOST, Owner, peers
from devstack.raw import RawSession
from stanzalake.model.page import Selection
from stanzalake.model.position import MAX_POSITION, from_milliseconds, to_milliseconds
from stanzalake.xmpp import dates
from stanzalake.xmpp.namespaces import DATA, MAM, RSM

PAGE = 50
"""Messages in a page."""

_EDGES = (re.compile(rb"<last>([^<]+)<"), re.compile(rb"<first[^>]*>([^<]+)<"))
"""Where the next page begins, forward and backward."""
_COMPLETE = re.compile(rb"<fin[^>]* complete=['\"]true")
_WEEK = from_milliseconds(7 * DAY)


class Question(NamedTuple):
    """A question of a client.

    Attributes:
        name: Its kind.
        selection: Which messages are meant.
        backward: Whether the last page of them is asked for.
    """

    name: str
    selection: Selection
    backward: bool

    def markup(self, seal: Callable[[int], str], limit: int = PAGE) -> str:
        """Return the question as a client's XML.

        Args:
            seal: Gives the id of the message at a position.
            limit: Messages in the page at most.
        """
        selection, anchor = self.selection, "<before/>" if self.backward else ""
        fields = _field("with", selection.peer) if selection.peer else ""
        if selection.high < MAX_POSITION:
            fields += _field("start", _date(selection.low)) + _field("end", _date(selection.high))
        elif selection.low:
            anchor = f"<after>{seal(selection.low - 1)}</after>"
        form = f"<x xmlns='{DATA}' type='submit'>{_field('FORM_TYPE', MAM)}{fields}</x>"
        return f"<query xmlns='{MAM}'>{form if fields else ''}{_set(limit, anchor)}</query>"


def draw(owner: Owner, position: int, chance: random.Random) -> Sequence[Question]:
    """Draw a question of each kind.

    Args:
        owner: Whose archive is asked.
        position: Position of a message in the archive.
        chance: Chooses the peer.
    """
    peer = f"peer{chance.randrange(peers(owner))}@{HOST}"
    week = Selection(position, position + _WEEK)
    return (
        Question("last page", Selection(), backward=True),
        Question("page after an id", Selection(low=position + 1), backward=False),
        Question("page with one peer", Selection(peer=peer), backward=True),
        Question("page of a week", week, backward=False),
    )


LAST_PAGE = Question("last page", Selection(), backward=True)
"""The newest messages of an archive."""


async def walk(session: RawSession, *, backward: bool) -> AsyncIterator[float]:
    """Page through a session's own archive, again and again; yield the seconds of each page.

    Args:
        session: The session.
        backward: Whether to begin with the newest page, instead of the oldest.

    Raises:
        ConnectionError: An answer is an error.
    """
    first = anchor = "<before/>" if backward else ""
    while True:
        start = time.perf_counter()
        page = await fetch(session, f"<query xmlns='{MAM}'>{_set(PAGE, anchor)}</query>")
        yield time.perf_counter() - start
        end = page[page.rindex(b"<fin") :]
        edge = _EDGES[backward].search(end)
        if edge is None or _COMPLETE.search(end):
            anchor = first
        else:
            name = "before" if backward else "after"
            anchor = f"<{name}>{edge[1].decode()}</{name}>"


async def ask(session: RawSession, markup: str, kind: str = "set") -> float:
    """Query a session's own archive; return the seconds until the answer.

    Args:
        session: The session.
        markup: The question.
        kind: Type of its iq.

    Raises:
        ConnectionError: The answer is an error.
    """
    start = time.perf_counter()
    answer = await fetch(session, markup, kind)
    taken = time.perf_counter() - start
    session.acknowledge(answer)
    return taken


async def fetch(session: RawSession, markup: str, kind: str = "set") -> bytes:
    """Query a session's own archive; return the page with all that came before its end.

    Args:
        session: The session.
        markup: The question.
        kind: Type of its iq.

    Raises:
        ConnectionError: The answer is an error.
    """
    session.writer.write(f"<iq type='{kind}' id='question'>{markup}</iq>".encode())
    answer = await session.reader.readuntil(b"</iq>")
    if b"</fin>" not in answer:
        raise ConnectionError("no page came")
    return answer


def _set(limit: int, anchor: str) -> str:
    return f"<set xmlns='{RSM}'><max>{limit}</max>{anchor}</set>"


def _field(name: str, value: str) -> str:
    return f"<field var='{name}'><value>{value}</value></field>"


def _date(position: int) -> str:
    return dates.emit(to_milliseconds(position))

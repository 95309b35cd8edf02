"""Preferences: what an owner wants archived (XEP-0441)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, get_args

from slixmpp import JID

from query.errors import StanzaError
from query.question import Answer, QueryContext, Reads
from stanzalake.model.event import MAX_JIDS, DefaultChoice, Preferences
from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import MAM, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_WISHES: dict[str, DefaultChoice] = {wish: wish for wish in get_args(DefaultChoice)}


@dataclass(frozen=True)
class AskQuestion:
    """What do I want archived?"""

    kind: ClassVar[str] = "prefs-get"
    filtered: ClassVar[bool] = False
    reads: ClassVar[Reads] = "preferences"
    activates: ClassVar[bool] = True

    async def answer(self, reading: QueryContext) -> Answer:
        """Give what is in force: the owner's last wishes, or the server's default."""
        history = await reading.archive.history()
        last = next((s for s in reversed(history) if isinstance(s, Preferences)), None)
        if last is None:
            return _answer(reading.publisher.default, (), ())
        return _answer(last.default, last.always, last.never)


@dataclass(frozen=True)
class WishQuestion:
    """May this be archived from now on?

    Attributes:
        default: What of a peer in neither list.
        always: Peers whose messages are kept.
        never: Peers whose messages are not.
    """

    default: DefaultChoice
    always: Sequence[str]
    never: Sequence[str]
    kind: ClassVar[str] = "prefs-set"
    filtered: ClassVar[bool] = False
    reads: ClassVar[Reads] = "nothing"
    activates: ClassVar[bool] = False

    async def answer(self, reading: QueryContext) -> Answer:
        """Put it into force, and give it as it is applied."""
        await reading.publisher.prefer(self.default, self.always, self.never)
        return _answer(self.default, self.always, self.never)


def ask(_: "Element") -> AskQuestion:
    """Understand a get; whatever it holds does not matter."""
    return AskQuestion()


def wish(prefs: "Element") -> WishQuestion:
    """Understand a set.

    Raises:
        StanzaError: bad-request: no such default, a list twice, or what is no JID;
            policy-violation: a list is too long.
    """
    default = _WISHES.get(prefs.get("default", ""))
    if default is None:
        raise StanzaError("bad-request", "default is none of always, never and roster")
    return WishQuestion(default, _jids(prefs, "always"), _jids(prefs, "never"))


def _jids(prefs: "Element", name: str) -> tuple[str, ...]:
    """Give a list's JIDs, normalised and each once; a list that is missing is empty."""
    lists = prefs.findall(tag(MAM, name))
    if len(lists) > 1:
        raise StanzaError("bad-request", f"{name} comes more than once")
    found = [jid for one in lists for jid in one.findall(tag(MAM, "jid"))]
    if len(found) > MAX_JIDS:
        raise StanzaError("policy-violation", f"a list has at most {MAX_JIDS} JIDs")
    return tuple(dict.fromkeys(_normalised(jid.text) for jid in found))


def _normalised(written: str | None) -> str:
    try:
        jid = str(JID((written or "").strip()))
    except ValueError:
        raise StanzaError("bad-request", "what is listed is no JID") from None
    if not jid:
        raise StanzaError("bad-request", "what is listed is no JID")
    return jid


def _answer(default: DefaultChoice, always: Iterable[str], never: Iterable[str]) -> Answer:
    lists = (_list("always", always), _list("never", never))
    return Answer(markup.element("prefs", {"xmlns": MAM, "default": default}, *lists))


def _list(name: str, jids: Iterable[str]) -> str:
    return markup.element(name, {}, *(markup.element("jid", {}, markup.text(j)) for j in jids))

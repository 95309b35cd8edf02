"""Preferences: which messages an owner wants archived (XEP-0441)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, get_args

from query.errors import StanzaError
from query.question import Answer, QueryContext, Reads
from stanzalake.errors import InvalidJid
from stanzalake.model import jid
from stanzalake.model.event import MAX_JIDS, DefaultChoice, Preferences
from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import MAM, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES = 128 * 1024
"""Bytes of both lists at most, normalised: a character may become 33 bytes.

Prosody keeps the lists, and reads and writes them between other work: 1 MB takes it 0.2 s.
"""

_DEFAULTS: dict[str, DefaultChoice] = {choice: choice for choice in get_args(DefaultChoice)}


@dataclass(frozen=True)
class PreferencesQuestion:
    """A request for the preferences in force."""

    kind: ClassVar[str] = "prefs-get"
    filtered: ClassVar[bool] = False
    by_text: ClassVar[bool] = False
    reads: ClassVar[Reads] = "preferences"
    activates: ClassVar[bool] = True

    async def answer(self, context: QueryContext) -> Answer:
        """Give the owner's last preferences, or the server's default."""
        history = await context.archive.history()
        last = next((s for s in reversed(history) if isinstance(s, Preferences)), None)
        known = history if context.stable else None
        if last is None:
            return Answer(_prefs(context.publisher.default, (), ()), history=known)
        return Answer(_prefs(last.default, last.always, last.never), history=known)


@dataclass(frozen=True)
class PreferencesChange:
    """A request to set preferences.

    Attributes:
        default: Choice for peers in neither list.
        always: Peers whose messages are archived.
        never: Peers whose messages are not archived.
    """

    default: DefaultChoice
    always: tuple[str, ...]
    never: tuple[str, ...]
    kind: ClassVar[str] = "prefs-set"
    filtered: ClassVar[bool] = False
    by_text: ClassVar[bool] = False
    reads: ClassVar[Reads] = "nothing"
    activates: ClassVar[bool] = False

    async def answer(self, context: QueryContext) -> Answer:
        """Publish the preferences, and give them as they are applied."""
        changed = await context.publisher.prefer(self.default, self.always, self.never)
        return Answer(_prefs(self.default, self.always, self.never), history=(changed,))


def parse_get(_: "Element") -> PreferencesQuestion:
    """Parse a get, whose content does not matter."""
    return PreferencesQuestion()


def parse_set(prefs: "Element") -> PreferencesChange:
    """Parse a set.

    Raises:
        StanzaError: bad-request: an unknown default, a repeated list, or text that is no JID;
            policy-violation: a list is too long, or both are in bytes.
    """
    default = _DEFAULTS.get(prefs.get("default", ""))
    if default is None:
        raise StanzaError("bad-request", "default is none of always, never and roster")
    always, never = _jids(prefs, "always"), _jids(prefs, "never")
    if sum(len(one.encode()) for one in (*always, *never)) > MAX_BYTES:
        raise StanzaError("policy-violation", f"lists have at most {MAX_BYTES} bytes")
    return PreferencesChange(default, always, never)


def _jids(prefs: "Element", name: str) -> tuple[str, ...]:
    """Give a list's JIDs, normalised and without repeats; a missing list is empty."""
    lists = prefs.findall(tag(MAM, name))
    if len(lists) > 1:
        raise StanzaError("bad-request", f"{name} comes more than once")
    found = [entry for one in lists for entry in one.findall(tag(MAM, "jid"))]
    if len(found) > MAX_JIDS:
        raise StanzaError("policy-violation", f"a list has at most {MAX_JIDS} JIDs")
    return tuple(dict.fromkeys(_normalised(entry.text) for entry in found))


def _normalised(written: str | None) -> str:
    try:
        return str(jid.parse((written or "").strip()))
    except InvalidJid:
        raise StanzaError("bad-request", "a list has text that is no JID") from None


def _prefs(default: DefaultChoice, always: Iterable[str], never: Iterable[str]) -> str:
    lists = (_list("always", always), _list("never", never))
    return markup.element("prefs", {"xmlns": MAM, "default": default}, *lists)


def _list(name: str, jids: Iterable[str]) -> str:
    return markup.element(name, {}, *(markup.element("jid", {}, markup.text(j)) for j in jids))

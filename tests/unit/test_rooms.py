"""Requests to the archives of rooms: whose rights count, and what an asker may see."""

from collections.abc import Mapping
from typing import Any

import pytest

from query import mam, protocol, rooms
from query.errors import StanzaError
from query.request import Request, RoomRights
from stanzalake.model.page import Item
from stanzalake.xmpp.namespaces import CLIENT, MAM, MUC_USER
from tests.support.archives import MemoryArchive, row
from tests.support.events import ROMEO
from tests.support.queries import BALCONY, HOST, forwarded, query

ROOM = f"hall@{HOST}"
RIGHTS = {"affiliation": "none", "whois": "moderators", "moderator": False}
SEMI_ANONYMOUS = RoomRights("none", "moderators", moderator=False)
IDENTITY = f"<x xmlns='{MUC_USER}'><item affiliation='none' jid='{ROMEO}'/></x>"
HEAD = f"<message xmlns='{CLIENT}' from='{ROOM}/Romeo' type='groupchat'>"


def request(payload: str, kind: str = "set", to: str = ROOM, **rights: object) -> Request:
    iq = f"<iq xmlns='{CLIENT}' type='{kind}' id='q1' from='{BALCONY}' to='{to}'>{payload}</iq>"
    outer = forwarded(payload, kind, iq=iq, owner=ROOM, room={**RIGHTS, **rights})
    return protocol.open_request(outer).request


def test_a_room_is_asked_by_anybody_whom_its_server_admits() -> None:
    asked = request(query())
    assert (asked.owner, asked.account) == (ROOM, BALCONY.partition("/")[0])
    assert asked.room == SEMI_ANONYMOUS
    assert mam.question(asked).kind == "search"


@pytest.mark.parametrize(
    "rights",
    [{"affiliation": "outcast"}, {"affiliation": 1}, {"whois": "nobody"}, {"moderator": "yes"}],
    ids=str,
)
def test_rights_that_are_none_admit_nobody(rights: Mapping[str, Any]) -> None:
    with pytest.raises(StanzaError, match="bad-request"):
        request(query(), **rights)


@pytest.mark.parametrize("to", [f"other@{HOST}", BALCONY, f"{ROOM}/Romeo", ""])
def test_rights_are_for_the_room_that_they_name(to: str) -> None:
    with pytest.raises(StanzaError, match="forbidden"):
        mam.question(request(query(), to=to))


def test_without_rights_a_room_is_as_closed_as_an_account() -> None:
    iq = f"<iq xmlns='{CLIENT}' type='set' id='q1' from='{BALCONY}' to='{ROOM}'>{query()}</iq>"
    outer = forwarded(query(), iq=iq, owner=ROOM)
    with pytest.raises(StanzaError, match="forbidden"):
        mam.question(protocol.open_request(outer).request)


@pytest.mark.parametrize("kind", ["get", "set"])
def test_a_room_has_no_preferences(kind: str) -> None:
    prefs = f"<prefs xmlns='{MAM}' default='never'><always/><never/></prefs>"
    with pytest.raises(StanzaError, match="feature-not-implemented"):
        mam.question(request(prefs, kind))


async def visible(stanza: str, whois: str, *, moderator: bool = False) -> str:
    archive = MemoryArchive([row(7, owner=ROOM, occupant=ROMEO)], owner=ROOM)
    rights = RoomRights("none", whois, moderator)  # type: ignore[arg-type]  # the tests name them rightly
    [item] = await rooms.visible([Item(7, "id", stanza)], rights, archive)
    return item.stanza


async def test_a_real_jid_needs_a_room_that_showed_it_and_does() -> None:
    shown, hidden = f"{HEAD}<body>x</body>{IDENTITY}</message>", f"{HEAD}<body>x</body></message>"
    assert await visible(shown, "anyone") == shown
    assert await visible(hidden, "anyone") == hidden
    assert await visible(shown, "moderators") == hidden
    assert await visible(shown, "moderators", moderator=True) == shown
    assert ROMEO in await visible(hidden, "moderators", moderator=True)


DISGUISES = {
    "a reference": IDENTITY.replace("protocol/muc", "protocol&#x2f;muc"),
    "a prefix": IDENTITY.replace("<x xmlns=", "<p:x xmlns:p=").replace("</x>", "</p:x>"),
    "two": IDENTITY * 2,
}


@pytest.mark.parametrize("name", DISGUISES)
async def test_no_spelling_of_a_real_jid_passes(name: str) -> None:
    stanza = f"{HEAD}<body>x</body>{DISGUISES[name]}</message>"
    assert ROMEO not in await visible(stanza, "moderators")

"""Rooms of a real Prosody, and clients in them (XEP-0045)."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from devstack.deployment import HOST, Deployment
from tests.support.clients import CLIENT, RawClient, stanza_ids
from tests.support.deployments import Entry, entries

ROOMS = f"rooms.{HOST}"
ROOM = f"hall@{ROOMS}"
MUC = "http://jabber.org/protocol/muc"
_ROOMCONFIG = f"{MUC}#roomconfig"


def component(
    options: str = "", modules: Sequence[str] = ("stanzalake",), host: str = ROOMS
) -> str:
    """Give the section of a MUC component in Prosody's configuration."""
    names = ", ".join(f'"{module}"' for module in modules)
    return (
        f'Component "{host}" "muc"\nmodules_enabled = {{ {names} }}\n'
        f"muc_room_locking = false\n{options}\n"
    )


def with_rooms(directory: Path, options: str = "", **settings: str) -> Deployment:
    """Give a deployment that archives a MUC component, too; it is not started."""
    wanted = {"PROSODY_ARCHIVE_POLICY": "true", "STANZALAKE_HOSTS": f"{HOST}, {ROOMS}", **settings}
    deployment = Deployment(directory, settings=wanted)
    key = deployment.settings["STANZALAKE_ID_KEYS"]
    deployment.prosody.extra_host = component(f'stanzalake_id_keys = "{key}"\n{options}')
    return deployment


async def join(client: RawClient, nick: str, room: str = ROOM, extra: str = "") -> ET.Element:
    """Enter a room, and give the own presence with which that is done."""
    number = len(client.received)
    client.send_raw(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'>{extra}</x></presence>")
    presence = await client.expect(
        lambda x: (
            x.tag == f"{CLIENT}presence"
            and x.get("from") == f"{room}/{nick}"
            and client.received.index(x) >= number
        )
    )
    assert presence.get("type") is None, ET.tostring(presence)
    # The subject ends what a room sends to a new occupant (XEP-0045 §7.2.15).
    await client.expect(
        lambda x: (
            x.get("type") == "groupchat"
            and x.find(f"{CLIENT}subject") is not None
            and client.received.index(x) >= number
        )
    )
    return presence


async def talk(client: RawClient, body: str, id_: str, room: str = ROOM, extra: str = "") -> str:
    """Say something in a room, and give the id that the room announces; empty if none."""
    client.send_raw(
        f"<message to='{room}' type='groupchat' id='{id_}'><body>{body}</body>{extra}</message>"
    )
    return _id_by(await client.message(id_), room)


async def configure(client: RawClient, fields: dict[str, str], room: str = ROOM) -> ET.Element:
    """Set fields of a room's configuration (XEP-0045 §10.2), and give the answer."""
    values = {"FORM_TYPE": _ROOMCONFIG, **fields}
    form = "".join(f"<field var='{n}'><value>{v}</value></field>" for n, v in values.items())
    payload = f"<x xmlns='jabber:x:data' type='submit'>{form}</x>"
    return await client.ask("set", f"<query xmlns='{MUC}#owner'>{payload}</query>", to=room)


async def affiliate(client: RawClient, account: str, affiliation: str, room: str = ROOM) -> None:
    """Change an account's affiliation."""
    item = f"<item jid='{account}' affiliation='{affiliation}'/>"
    answer = await client.ask("set", f"<query xmlns='{MUC}#admin'>{item}</query>", to=room)
    assert answer.get("type") == "result", ET.tostring(answer)


async def give_role(client: RawClient, nick: str, role: str, room: str = ROOM) -> None:
    """Change the role of an occupant (XEP-0045 §9.6, §8.3)."""
    item = f"<item nick='{nick}' role='{role}'/>"
    answer = await client.ask("set", f"<query xmlns='{MUC}#admin'>{item}</query>", to=room)
    assert answer.get("type") == "result", ET.tostring(answer)


async def room_entries(client: RawClient, *content: str, room: str = ROOM) -> list[Entry]:
    """Give the last entries of a room's archive."""
    return await entries(client, *content, to=room)


def moderation(id_: str, reason: str = "rude") -> str:
    """Give a moderator's request to retract a message (XEP-0425)."""
    retract = f"<retract xmlns='urn:xmpp:message-retract:1'/><reason>{reason}</reason>"
    return f"<moderate xmlns='urn:xmpp:message-moderate:1' id='{id_}'>{retract}</moderate>"


def bodies(found: Sequence[Entry]) -> list[str | None]:
    """Give the texts of entries."""
    return [entry.message.findtext(f"{CLIENT}body") for entry in found]


def statuses(stanza: ET.Element) -> set[str]:
    """Give the status codes on a stanza of a room."""
    return {x.get("code", "") for x in stanza.iter(f"{{{MUC}#user}}status")}


def real_jid(message: ET.Element) -> str | None:
    """Give the author's real JID on a message of a room, if it is shown."""
    item = message.find(f"{{{MUC}#user}}x/{{{MUC}#user}}item")
    return None if item is None else item.get("jid")


def _id_by(message: ET.Element, room: str) -> str:
    return next((id_ for by, id_ in stanza_ids(message) if by == room), "")

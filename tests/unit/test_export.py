"""How an export writes an archive, and that a file is whole or not there."""

import io
import json
import stat
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import zstandard

from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from stanzalake.errors import OutputFailed
from stanzalake.importer.pie import Pie
from stanzalake.importer.source import ArchivedMessage, Selection
from stanzalake.importer.stanza import to_event
from stanzalake.model.event import VERSION, Preferences, Tombstone
from stanzalake.model.position import from_milliseconds
from stanzalake.operations import export
from stanzalake.store.client import Row
from stanzalake.xmpp.namespaces import MUC_USER
from stanzalake.xmpp.retraction import retracted
from tests.support.archives import SEALER, START, row
from tests.support.events import JULIET, ROMEO, stanza

POSITION = from_milliseconds(START + 7)
SAID = Preferences(
    v=VERSION, owner=JULIET, position=1, default="roster", always=(ROMEO,), never=("a&b@x.lit",)
)
TOMBSTONE = Tombstone(
    v=VERSION,
    owner="hall@rooms.capulet.lit",
    position=POSITION + 9,
    peer="hall@rooms.capulet.lit",
    direction="in",
    target=POSITION + 3,
    moderated=True,
    by="hall@rooms.capulet.lit/Romeo",
    reason="rude",
)


def written(form: export.Format, *rows: object) -> str:
    output = io.BytesIO()
    export.write(output, form, rows)  # type: ignore[arg-type]  # rows
    return output.getvalue().decode()


@pytest.mark.parametrize("said", [None, SAID])
def test_xep_0227_follows_its_example(said: Preferences | None) -> None:
    rows = [
        row(POSITION, stanza=stanza("it's &amp; <&lt;".replace("<&", "&"))),
        row(POSITION + 1, legacy_id='old "&" id'),
    ]
    root = ET.fromstring(written(export.Xep0227(JULIET, SEALER, said), *rows))  # noqa: S314  # our own
    assert root.tag == "{urn:xmpp:pie:0}server-data"
    [host] = root
    assert (host.tag, host.get("jid")) == ("{urn:xmpp:pie:0}host", "capulet.lit")
    [user] = host
    assert (user.tag, user.get("name")) == ("{urn:xmpp:pie:0}user", "juliet")
    archive = user[-1]
    assert archive.tag == "{urn:xmpp:pie:0#mam}archive"
    assert [one.get("id") for one in archive] == [SEALER.seal(JULIET, POSITION), 'old "&" id']
    for result in archive:
        assert result.tag == "{urn:xmpp:mam:2}result"
        delay, message = result[0]
        assert result[0].tag == "{urn:xmpp:forward:0}forwarded"
        assert (delay.tag, delay.get("stamp")) == (
            "{urn:xmpp:delay}delay",
            "2026-09-21T14:13:20.007Z",
        )
        assert message.tag == "{jabber:client}message"
    wishes = [ET.tostring(one) for one in user[:-1]]
    assert len(wishes) == (said is not None)
    assert all(b"a&amp;b@x.lit" in one and b'default="roster"' in one for one in wishes)


def test_json_lines_are_an_object_each() -> None:
    given = row(POSITION, stanza=stanza("so\nlong"))
    [line] = written(export.JsonLines(SEALER), given).splitlines()
    assert json.loads(line) == {
        "id": SEALER.seal(JULIET, POSITION),
        "position": POSITION,
        "at": "2026-09-21T14:13:20.007Z",
        "owner": JULIET,
        "peer": ROMEO,
        "peer_resource": "orchard",
        "direction": "in",
        "kind": "chat",
        "stanza": stanza("so\nlong"),
    }


ROOM = "hall@rooms.capulet.lit"
IDENTITY = f"<x xmlns='{MUC_USER}'><item jid='{ROMEO}/orchard' role='participant'/></x>"


def in_room(number: int, nick: str, content: str, occupant: str = "") -> Row:
    sender = f"{ROOM}/{nick}" if nick else ROOM
    text = (
        f"<message xmlns='jabber:client' from='{sender}' type='groupchat' id='m'>"
        f"{content}</message>"
    )
    return Row(ROOM, POSITION + number, ROOM, nick, "in", "groupchat", text, "", occupant)


@pytest.mark.parametrize("occupant", ["", ROMEO])
def test_json_lines_of_a_room_name_the_author_if_known(occupant: str) -> None:
    line = written(export.JsonLines(SEALER), in_room(0, "Romeo", "", occupant))
    assert json.loads(line).get("occupant", "") == occupant


def test_a_room_comes_back_from_xep_0227_but_for_authors_whom_it_hid(tmp_path: Path) -> None:
    rows = [
        in_room(0, "Romeo", f"<body>shown</body>{IDENTITY}", ROMEO),
        in_room(1, "Romeo", "<body>hidden</body>", ROMEO),
        in_room(2, "", "<body>the room is recorded now</body>"),
        in_room(3, "Juliet", retracted(TOMBSTONE), JULIET),
    ]
    path = tmp_path / "room.xml"
    path.write_text(written(export.Xep0227(ROOM, SEALER, None), *rows))
    events = [
        to_event(item, SEALER.open(ROOM, item.id) or 0, DEFAULT_EXCLUSIONS)
        for item in Pie(path, Selection(frozenset({"rooms.capulet.lit"}))).items()
        if isinstance(item, ArchivedMessage)
    ]
    assert [Row.of(event, event.stanza) for event in events if event is not None] == [
        rows[0],
        *(one._replace(occupant="") for one in rows[1:]),
    ]


@pytest.mark.parametrize("name", ["out.xml", "out.xml.zst"])
def test_an_export_is_atomic_and_private(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"before")
    with export.open_output(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    content = path.read_bytes()
    packed = name.endswith(".zst")
    assert (zstandard.ZstdDecompressor().stream_reader(content).read() if packed else content) == (
        b"after"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["out.xml", "out.xml.zst"])
def test_an_interrupted_export_leaves_no_file(tmp_path: Path, name: str) -> None:
    def cut() -> None:
        with export.open_output(tmp_path / name) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputFailed, match="No such file"),
        export.open_output(tmp_path / "a" / "b"),
    ):
        raise AssertionError


def test_a_full_disk_is_reported() -> None:
    with pytest.raises(OutputFailed, match="No space"), export.open_output(Path("-")) as _:
        raise OSError(28, "No space left on device")

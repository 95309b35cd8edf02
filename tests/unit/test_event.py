"""The public event format."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanzalake.errors import InvalidEvent
from stanzalake.model import event
from stanzalake.model.position import MAX_POSITION
from tests.support.events import JULIET, ROMEO, encoded, message

SCHEMA = Path(__file__).parents[2] / "docs" / "event.schema.json"
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50)


@given(st.integers(0, MAX_POSITION), texts)
def test_an_event_survives_encoding_and_decoding(position: int, stanza: str) -> None:
    original = message(position, stanza=stanza)
    assert event.decode(event.encode(original)) == original


def tombstone(**changes: Any) -> event.Tombstone:
    fields: dict[str, Any] = {"v": 1, "owner": JULIET, "position": 9, "peer": ROMEO}
    named = {"direction": "in", "message_id": "m", "by": ROMEO, "retraction_id": "r"}
    return event.Tombstone(**{**fields, **named, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"message_id": ""},
        {"target": 1},
        {"message_id": "x" * 1024},
        {"message_id": "a\nb"},
        {"retraction_id": "\uffff"},
        {"reason": "x" * 2049},
        {"by": "\x00"},
        {"target": MAX_POSITION + 1, "message_id": ""},
    ],
)
def test_a_tombstone_names_one_message_within_bounds(changes: dict[str, Any]) -> None:
    raw = msgspec.json.encode(tombstone(**changes))
    with pytest.raises(InvalidEvent):
        event.decode(raw)


@pytest.mark.parametrize(
    "one",
    [
        event.Preferences(
            v=1, owner=JULIET, position=1, default="roster", always=("a@b",), never=("c@d/e",)
        ),
        event.Activation(v=1, owner=JULIET, position=1),
        event.Erasure(v=1, owner=JULIET, position=9, peer="a@b", start=1, end=8, by="me"),
        event.Expiry(v=1, owner="capulet.lit", position=1),
        tombstone(),
        tombstone(
            target=1, message_id="", occupant_id="o", by="r@c/n", moderated=True, reason="rude"
        ),
    ],
    ids=lambda one: type(one).__name__,
)
def test_encoded_events_match_the_published_schema(one: event.Event) -> None:
    jsonschema.validate(json.loads(event.encode(one)), json.loads(SCHEMA.read_text()))
    assert event.decode(event.encode(one)) == one


@given(st.integers(0, MAX_POSITION), st.sampled_from(["in", "out"]), st.booleans(), texts)
def test_arbitrary_events_match_the_published_schema(
    position: int, direction: str, contact: bool, stanza: str
) -> None:
    raw = encoded(position, direction=direction, contact=contact, stanza=stanza)
    jsonschema.validate(json.loads(raw), json.loads(SCHEMA.read_text()))


def test_the_published_schema_is_up_to_date() -> None:
    assert json.loads(SCHEMA.read_text()) == msgspec.to_builtins(event.schema())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": 2}, r"\$\.v"),
        ({"type": "gossip"}, "type"),
        ({"owner": "juliet"}, r"\$\.owner"),
        ({"owner": "juliet@capulet.lit/balcony"}, r"\$\.owner"),
        ({"owner": "a@" + "b" * 2048}, r"\$\.owner"),
        ({"position": -1}, r"\$\.position"),
        ({"position": 2**64}, r"\$\.position|out of range"),
        ({"position": "1"}, r"\$\.position"),
        ({"direction": "up"}, r"\$\.direction"),
        ({"contact": 1}, r"\$\.contact"),
        ({"stanza": ""}, r"\$\.stanza"),
        ({"extra": 1}, "unknown field"),
    ],
)
def test_the_reason_names_the_invalid_field(change: dict[str, object], reason: str) -> None:
    raw = json.dumps({**json.loads(encoded(1)), **change}).encode()
    with pytest.raises(InvalidEvent, match=reason):
        event.decode(raw)


@pytest.mark.parametrize("field", ["position", "start", "end"])
@pytest.mark.parametrize("number", [-1, 2**64, 2**200])
def test_an_erasure_with_a_position_out_of_range_is_invalid(field: str, number: int) -> None:
    erasure = {"type": "erasure", "v": 1, "owner": JULIET, "position": 9, "start": 1, "end": 9}
    event.decode(json.dumps(erasure).encode())
    with pytest.raises(InvalidEvent, match=field):
        event.decode(json.dumps({**erasure, field: number}).encode())


@pytest.mark.parametrize("field", ["v", "owner", "position", "contact", "stanza"])
def test_an_event_without_a_required_field_is_invalid(field: str) -> None:
    fields = json.loads(encoded(1))
    del fields[field]
    with pytest.raises(InvalidEvent):
        event.decode(json.dumps(fields).encode())


def test_an_event_over_the_size_limit_is_invalid() -> None:
    with pytest.raises(InvalidEvent, match="limit"):
        event.decode(b" " * (event.MAX_EVENT + 1))


@given(st.binary())
def test_arbitrary_bytes_are_an_event_or_invalid(raw: bytes) -> None:
    with pytest.raises(InvalidEvent):
        event.decode(raw)


def test_the_reason_never_quotes_a_body() -> None:
    raw = encoded(1, stanza="<message>top secret</message>").replace(b'"in"', b'"top secret"')
    with pytest.raises(InvalidEvent) as caught:
        event.decode(raw)
    assert "secret" not in str(caught.value)

"""Every record ends as a row, as rejected, or as unwanted; offsets travel with them."""

import pytest

from archive.log import Record
from archive.settings import DEFAULT_EXCLUSIONS
from processor.batch import Rules, assemble
from processor.policy import Default, admits
from tests.support.events import JULIET, ROMEO, encoded, message, stanza

RULES = Rules("true", DEFAULT_EXCLUSIONS)


def record(offset: int, value: bytes, partition: int = 0) -> Record:
    return Record(partition, offset, JULIET, value)


@pytest.mark.parametrize(
    ("default", "contact", "admitted"),
    [
        ("true", True, True),
        ("true", False, True),
        ("roster", True, True),
        ("roster", False, False),
        ("false", True, False),
        ("false", False, False),
    ],
)
def test_policy(default: Default, contact: bool, admitted: bool) -> None:
    assert admits(default, message(1, contact=contact)) is admitted


@pytest.mark.requirement("313-01")
def test_a_message_becomes_a_row() -> None:
    batch = assemble([record(4, encoded(9))], RULES)
    [row] = batch.rows
    assert row == (JULIET, 9, ROMEO, "orchard", "in", "chat", stanza(), "")
    assert batch.offsets == {0: 5}
    assert batch.rejected == []


def test_what_is_no_event_is_rejected_with_its_bytes_reason_and_source() -> None:
    records = [
        record(1, b"{"),
        record(2, encoded(1)),
        record(3, encoded(2, stanza="<message>"), partition=1),
    ]
    batch = assemble(records, RULES)
    assert [entry.value for entry in batch.rejected] == [records[0].value, records[2].value]
    assert dict(batch.rejected[0].headers)["source"] == "stanzalake.events/0/1"
    assert "not well-formed" in dict(batch.rejected[1].headers)["reason"]
    assert len(batch.rows) == 1
    assert batch.offsets == {0: 3, 1: 4}


def test_what_is_unwanted_is_passed_over_and_committed() -> None:
    only_excluded = stanza().replace("<body>hello</body>", "<x xmlns='urn:xmpp:jingle-message:0'/>")
    records = [record(1, encoded(1, contact=False)), record(2, encoded(2, stanza=only_excluded))]
    batch = assemble(records, Rules("roster", DEFAULT_EXCLUSIONS))
    assert (batch.rows, batch.rejected, batch.offsets) == ([], [], {0: 3})

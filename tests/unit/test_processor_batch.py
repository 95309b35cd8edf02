"""Each record becomes a row, a state, a dead letter, or is filtered; offsets travel along."""

import time
from collections.abc import Iterator, Sequence

import pytest

from processor.batch import Batch, Decoded, Rules, assemble, decode_records
from processor.policy import Policy
from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from stanzalake.log.base import Record
from stanzalake.model.event import (
    VERSION,
    Activation,
    Erasure,
    Expiry,
    Preferences,
    Tombstone,
    encode,
)
from stanzalake.model.history import ArchiveState, merge
from stanzalake.store.client import Row
from tests.support.events import JULIET, ROMEO, encoded, stanza, uncut

ALL = Rules(Policy("true"), DEFAULT_EXCLUSIONS)


def record(offset: int, value: bytes, partition: int = 0) -> Record:
    return Record(partition, offset, JULIET, value)


def batch(
    records: Sequence[Record], rules: Rules = ALL, history: Sequence[ArchiveState] = ()
) -> Batch:
    decoded = decode_records(records)
    return assemble(decoded, {JULIET: merge(history, decoded.states)}, rules, uncut)


@pytest.mark.requirement("313-01")
def test_a_message_becomes_a_row() -> None:
    result = batch([record(4, encoded(9))])
    [row] = result.rows
    assert row == Row(JULIET, 9, ROMEO, "orchard", "in", "chat", stanza())
    assert result.offsets == {0: 5}
    assert result.dead_letters == []


def test_a_presence_in_a_room_becomes_a_row_and_a_broken_one_a_dead_letter() -> None:
    room = "hall@rooms.capulet.lit"
    fields = {"owner": room, "peer": room, "kind": "presence", "contact": False}
    left = f"<presence xmlns='jabber:client' from='{room}/Romeo' type='unavailable'/>"
    records = [
        record(1, encoded(2, **fields, occupant=ROMEO, peer_resource="Romeo", stanza=left)),
        record(2, encoded(3, **fields, occupant=ROMEO, stanza="<presence>")),
    ]
    decoded = decode_records(records)
    result = assemble(decoded, {room: []}, Rules(Policy("false"), DEFAULT_EXCLUSIONS), uncut)
    assert result.rows == [Row(room, 2, room, "Romeo", "in", "presence", left, "", ROMEO)]
    assert [letter.record.offset for letter in result.dead_letters] == [2]


def test_preferences_become_a_state() -> None:
    wishes = Preferences(
        v=VERSION, owner=JULIET, position=3, default="never", always=(ROMEO,), never=()
    )
    result = batch([record(1, encode(wishes))])
    assert result.states == [wishes]
    assert (result.rows, result.offsets) == ([], {0: 2})


def test_a_message_is_judged_by_the_preferences_before_it() -> None:
    never = Preferences(v=VERSION, owner=JULIET, position=3, default="never", always=(), never=())
    result = batch([record(1, encoded(2)), record(2, encoded(4))], history=[never])
    assert [row.position for row in result.rows] == [2]


def erasure(position: int, *, account: bool = False) -> Erasure:
    return Erasure(v=VERSION, owner=JULIET, position=position, end=position, account=account)


def tombstone(position: int) -> Tombstone:
    return Tombstone(
        v=VERSION,
        owner=JULIET,
        position=position,
        peer=ROMEO,
        direction="in",
        message_id="m",
        by=ROMEO,
        retraction_id="r",
    )


def test_a_retraction_becomes_the_row_of_a_tombstone() -> None:
    result = batch([record(1, encode(tombstone(3)))])
    [row] = result.tombstones
    assert (row.owner, row.position, row.peer, row.asked_by) == (JULIET, 3, ROMEO, ROMEO)
    assert row.target == f"in\n{ROMEO}\nm"
    assert row.retracted.startswith('<retracted xmlns="urn:xmpp:message-retract:1" id="r"')
    assert (result.rows, result.states, result.offsets) == ([], [], {0: 2})


def test_a_retraction_from_before_the_removal_of_its_account_is_dropped() -> None:
    history = [erasure(5, account=True)]
    records = [record(1, encode(tombstone(3))), record(2, encode(tombstone(7)))]
    assert [row.position for row in batch(records, history=history).tombstones] == [7]


def test_an_erasure_covers_older_messages_whatever_their_order_in_the_log() -> None:
    erased = erasure(5)
    records = [record(1, encoded(2)), record(2, encode(erased)), record(3, encoded(4))]
    result = batch([*records, record(4, encoded(6))])
    assert [row.position for row in result.rows] == [6]
    assert result.states == [erased]
    assert [row.position for row in batch(records[:1], history=[erased]).rows] == []


def test_the_removal_of_an_account_ends_its_preferences() -> None:
    late, new = (Activation(v=VERSION, owner=JULIET, position=p) for p in (3, 7))
    ended = erasure(5, account=True)
    result = batch([record(1, encode(late)), record(2, encode(new))], history=[ended])
    assert result.states == [new]
    smart = Rules(Policy("true", smart=True), DEFAULT_EXCLUSIONS)
    result = batch([record(3, encoded(6)), record(4, encoded(8))], smart, [late, ended, new])
    assert [row.position for row in result.rows] == [8]


def test_twenty_thousand_erasures_of_one_owner_are_assembled_quickly() -> None:
    erasures = [erasure(position) for position in range(20_000)]
    decoded = Decoded(states=list(erasures))
    began = time.process_time()
    assert assemble(decoded, {JULIET: tuple(erasures)}, ALL, uncut).states == erasures
    assert time.process_time() - began < 2


def test_requests_for_expiry_are_counted() -> None:
    ask = encode(Expiry(v=VERSION, owner="capulet.lit", position=1))
    assert batch([record(1, ask), record(2, ask), record(3, encoded(1))]).expiries == 2


def test_an_invalid_record_becomes_a_dead_letter_with_bytes_reason_and_source() -> None:
    records = [
        record(1, b"{"),
        record(2, encoded(1)),
        record(3, encoded(2, stanza="<message>"), partition=1),
    ]
    result = batch(records)
    first, second = (one.entry for one in result.dead_letters)
    assert (first.value, second.value) == (records[0].value, records[2].value)
    assert dict(first.headers)["source"] == "stanzalake.events/0/1"
    assert "not well-formed" in dict(second.headers)["reason"]
    assert len(result.rows) == 1
    assert result.offsets == {0: 3, 1: 4}


def test_a_filtered_message_is_committed_without_a_row() -> None:
    excluded = stanza().replace("<body>hello</body>", "<x xmlns='urn:xmpp:jingle-message:0'/>")
    records = [record(1, encoded(1, contact=False)), record(2, encoded(2, stanza=excluded))]
    result = batch(records, Rules(Policy("roster"), DEFAULT_EXCLUSIONS))
    assert (result.rows, result.dead_letters, result.offsets) == ([], [], {0: 3})


class CountedHistory(list[ArchiveState]):
    """A history that counts how often its states are gone through."""

    times = 0

    def __iter__(self) -> Iterator[ArchiveState]:
        self.times += 1
        return super().__iter__()


def test_an_owner_of_many_states_takes_the_processor_no_longer_for_an_event() -> None:
    chosen = [
        Preferences(v=VERSION, owner=JULIET, position=n, default="always", always=(), never=())
        for n in range(1, 1001)
    ]

    def times(events: int) -> int:
        history = CountedHistory(chosen)
        values = [encoded(2000 + n) for n in range(events)]
        values += [encode(tombstone(5000 + n)) for n in range(events)]
        decoded = decode_records(record(n, value) for n, value in enumerate(values))
        result = assemble(decoded, {JULIET: history}, ALL, uncut)
        assert len(result.rows) == len(result.tombstones) == events
        return history.times

    assert times(100) == times(1)

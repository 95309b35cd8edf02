"""Batches: rows, states and dead letters of a run of records, with the offsets to commit."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from processor.policy import Policy
from stanzalake.errors import InvalidEvent, InvalidStanza
from stanzalake.log import dead_letters
from stanzalake.log.base import EVENTS, Entry, Record
from stanzalake.model.event import (
    Erasure,
    Event,
    Expiry,
    Message,
    OwnRetention,
    Tombstone,
    decode,
)
from stanzalake.model.history import ArchiveState, History, Timeline
from stanzalake.store.client import Row
from stanzalake.store.tombstones import TombstoneRow
from stanzalake.xmpp.retraction import retracted
from stanzalake.xmpp.stanza import parse, strip


@dataclass(frozen=True, slots=True)
class Rules:
    """Server-wide rules of archiving.

    Attributes:
        policy: The server's policy.
        exclusions: Namespaces of elements that are not stored.
    """

    policy: Policy
    exclusions: frozenset[str]


class DeadLetter(NamedTuple):
    """A record that cannot be archived.

    Attributes:
        record: The record.
        reason: The reason, which never quotes a body.
        by_content: Whether a user's content may be at fault, instead of a program.
    """

    record: Record
    reason: str
    by_content: bool = False

    @property
    def entry(self) -> Entry:
        """Entry for the dead letters: original bytes, reason and source."""
        record = self.record
        source = f"{EVENTS}/{record.partition}/{record.offset}"
        return dead_letters.entry(record.key, record.value, self.reason, source)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Decoded records, sorted by type.

    Attributes:
        messages: Messages with their records.
        states: Preferences, activations and erasures.
        tombstones: Retractions.
        retentions: Own retentions of owners.
        expiries: Requests to remove expired messages.
        dead_letters: Records without a valid event.
        offsets: Next offset to read (last + 1) of each partition.
    """

    messages: list[tuple[Record, Message]] = field(default_factory=list)
    states: list[ArchiveState] = field(default_factory=list)
    tombstones: list[Tombstone] = field(default_factory=list)
    retentions: list[OwnRetention] = field(default_factory=list)
    expiries: list[Expiry] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)

    @property
    def owners(self) -> frozenset[str]:
        """Owners of the messages, states and tombstones."""
        owners = (event.owner for event in (*self.states, *self.tombstones))
        return frozenset(message.owner for _, message in self.messages).union(owners)

    def select(self, owners: Collection[str]) -> "Decoded":
        """Return the messages, states and tombstones of some owners alone."""
        return Decoded(
            messages=[(r, message) for r, message in self.messages if message.owner in owners],
            states=[state for state in self.states if state.owner in owners],
            tombstones=[one for one in self.tombstones if one.owner in owners],
        )

    @property
    def state_owners(self) -> frozenset[str]:
        """Owners of the states."""
        return frozenset(state.owner for state in self.states)


@dataclass(frozen=True, slots=True)
class Batch:
    """Output of a run of records.

    Attributes:
        rows: Rows of messages for the store.
        states: Preferences, activations and erasures for the store.
        dead_letters: Records for the dead letters.
        offsets: Offsets to commit after all of that is written.
        expiries: Number of requests to remove expired messages.
        replayed: Owners of messages that are archived long after the tap announced them.
        tombstones: Rows of retractions for the store.
        retentions: Own retentions for the store.
    """

    rows: Sequence[Row]
    states: Sequence[ArchiveState]
    dead_letters: Sequence[DeadLetter]
    offsets: Mapping[int, int]
    expiries: int = 0
    replayed: frozenset[str] = frozenset()
    tombstones: Sequence[TombstoneRow] = ()
    retentions: Sequence[OwnRetention] = ()


def decode_records(records: Iterable[Record]) -> Decoded:
    """Decode records; those without a valid event become dead letters."""
    decoded = Decoded()
    for record in records:
        decoded.offsets[record.partition] = record.offset + 1
        try:
            _sort(record, decode(record.value), decoded)
        except InvalidEvent as error:
            decoded.dead_letters.append(DeadLetter(record, str(error)))
    return decoded


def assemble(
    decoded: Decoded,
    histories: Mapping[str, History],
    rules: Rules,
    earlier: Callable[[Message, History], History],
) -> Batch:
    """Apply policy and exclusion: each message becomes a row or a dead letter, or is dropped.

    Args:
        decoded: The records.
        histories: History of each of their owners, including the states of these records.
        rules: Server-wide rules.
        earlier: Extends a history that begins after a message.
    """
    bad = list(decoded.dead_letters)
    timelines = {owner: Timeline(history) for owner, history in histories.items()}
    judged = (
        (record, message, _as_of(message, timelines[message.owner], earlier))
        for record, message in decoded.messages
    )
    rows = list(_rows(judged, rules, bad))
    # A late state from before the removal of its account is in no history, and is not written. Of
    # each erasure there is a record, also if another one covers as much.
    current = {state for owner in decoded.state_owners for state in histories[owner]}
    states = [s for s in decoded.states if s in current or isinstance(s, Erasure)]
    # Of all events, only replayed ones have headers.
    replayed = frozenset(message.owner for record, message in decoded.messages if record.headers)
    return Batch(
        rows,
        states,
        bad,
        decoded.offsets,
        expiries=len(decoded.expiries),
        replayed=replayed,
        tombstones=list(_tombstones(decoded.tombstones, timelines)),
        retentions=decoded.retentions,
    )


def join(first: Batch, *others: Batch) -> Batch:
    """Return a batch with the content of several, and the first's offsets."""
    batches = (first, *others)
    return replace(
        first,
        rows=[row for batch in batches for row in batch.rows],
        states=[state for batch in batches for state in batch.states],
        dead_letters=[letter for batch in batches for letter in batch.dead_letters],
        replayed=frozenset(owner for batch in batches for owner in batch.replayed),
        tombstones=[row for batch in batches for row in batch.tombstones],
        retentions=[one for batch in batches for one in batch.retentions],
    )


def dead_letter_batch(record: Record, reason: str) -> Batch:
    """Return the batch of a record whose row the store rejects."""
    return Batch([], [], [DeadLetter(record, reason)], {record.partition: record.offset + 1})


def _sort(record: Record, event: Event, decoded: Decoded) -> None:
    if isinstance(event, Message):
        decoded.messages.append((record, event))
    elif isinstance(event, Expiry):
        decoded.expiries.append(event)
    elif isinstance(event, Tombstone):
        decoded.tombstones.append(event)
    elif isinstance(event, OwnRetention):
        decoded.retentions.append(event)
    else:
        decoded.states.append(event)


def _as_of(
    message: Message, timeline: Timeline, earlier: Callable[[Message, History], History]
) -> Timeline:
    if not timeline.begins_after(message.position):
        return timeline
    return Timeline(earlier(message, timeline.history))


def _rows(
    judged: Iterable[tuple[Record, Message, Timeline]], rules: Rules, bad: list[DeadLetter]
) -> Iterator[Row]:
    for record, message, timeline in judged:
        if not rules.policy.admits(message, timeline):
            continue
        try:
            stored = _stored_form(message, rules.exclusions)
        except InvalidStanza as error:
            bad.append(DeadLetter(record, str(error), by_content=True))
        else:
            if stored is not None:
                yield Row.of(message, stored)


def _stored_form(message: Message, exclusions: frozenset[str]) -> str | None:
    """Return the text to store, None for nothing; raises `InvalidStanza`."""
    if not message.is_presence:
        return strip(message.stanza, exclusions)
    parse(message.stanza)
    return message.stanza


def _tombstones(
    tombstones: Iterable[Tombstone], timelines: Mapping[str, Timeline]
) -> Iterator[TombstoneRow]:
    """Yield the rows of tombstones, without those from before the removal of their account."""
    for tombstone in tombstones:
        if not any(
            erasure.account and erasure.position > tombstone.position
            for erasure in timelines[tombstone.owner].erasures
        ):
            yield TombstoneRow.of(tombstone, retracted(tombstone))

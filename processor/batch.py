"""A batch: what a run of the log comes to, and the offsets it ends at."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from processor.policy import Policy
from stanzalake.errors import InvalidEvent
from stanzalake.log import dead_letters
from stanzalake.log.base import EVENTS, Entry, Record
from stanzalake.model.event import Erasure, Event, Expiry, Message, decode
from stanzalake.model.history import ArchiveState, History
from stanzalake.store.client import Row
from stanzalake.xmpp import stanza as exclusion


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides over a message, besides what its owner said.

    Attributes:
        policy: The server's policy.
        exclusions: The namespaces whose elements are not stored.
    """

    policy: Policy
    exclusions: frozenset[str]


class Rejected(NamedTuple):
    """A record that is not archived, and why."""

    record: Record
    reason: str

    @property
    def entry(self) -> Entry:
        """What the rejected topic gets: the original bytes, reason and source."""
        record = self.record
        source = f"{EVENTS}/{record.partition}/{record.offset}"
        return dead_letters.entry(record.key, record.value, self.reason, source)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A run of records, read.

    Attributes:
        messages: Each with the record that it came in.
        states: What was said of archives.
        expiries: Requests to remove what has expired.
        rejected: What is no event.
        offsets: For each partition the next offset to read (last + 1).
    """

    messages: list[tuple[Record, Message]] = field(default_factory=list)
    states: list[ArchiveState] = field(default_factory=list)
    expiries: list[Expiry] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)

    @property
    def owners(self) -> frozenset[str]:
        """Whose archives it is about."""
        return frozenset(message.owner for _, message in self.messages) | self.speakers

    @property
    def speakers(self) -> frozenset[str]:
        """Of whose archives something was said."""
        return frozenset(state.owner for state in self.states)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one round writes.

    Attributes:
        rows: What the store gets of messages.
        states: What it gets of what was said of archives.
        rejected: What is kept aside.
        offsets: What is committed after all of it is written.
        expiries: How many asked for the removal of what has expired.
    """

    rows: Sequence[Row]
    states: Sequence[ArchiveState]
    rejected: Sequence[Rejected]
    offsets: Mapping[int, int]
    expiries: int = 0

    @property
    def erasures(self) -> Sequence[Erasure]:
        """What is to be forgotten."""
        return [state for state in self.states if isinstance(state, Erasure)]


def read(records: Iterable[Record]) -> Decoded:
    """Decode records; what is no event is rejected."""
    decoded = Decoded()
    for record in records:
        decoded.offsets[record.partition] = record.offset + 1
        try:
            _sort(record, decode(record.value), decoded)
        except InvalidEvent as error:
            decoded.rejected.append(Rejected(record, str(error)))
    return decoded


def assemble(decoded: Decoded, histories: Mapping[str, History], rules: Rules) -> Batch:
    """Exclude and decide: every message ends as a row, as rejected, or as unwanted.

    Args:
        decoded: The run of records.
        histories: What was said of each of their archives, this run's states included.
        rules: What else decides.
    """
    bad = list(decoded.rejected)
    rows = list(_rows(decoded.messages, histories, rules, bad))
    # What came late, behind the end of the account that said it, is in no history.
    in_force = {state for owner in decoded.speakers for state in histories[owner]}
    states = [state for state in decoded.states if state in in_force]
    return Batch(rows, states, bad, decoded.offsets, len(decoded.expiries))


def refused(record: Record, reason: str) -> Batch:
    """Give the batch of one record that the store does not take."""
    return Batch([], [], [Rejected(record, reason)], {record.partition: record.offset + 1})


def _sort(record: Record, event: Event, decoded: Decoded) -> None:
    if isinstance(event, Message):
        decoded.messages.append((record, event))
    elif isinstance(event, Expiry):
        decoded.expiries.append(event)
    else:
        decoded.states.append(event)


def _rows(
    messages: Iterable[tuple[Record, Message]],
    histories: Mapping[str, History],
    rules: Rules,
    bad: list[Rejected],
) -> Iterator[Row]:
    for record, message in messages:
        if not rules.policy.admits(message, histories[message.owner]):
            continue
        try:
            stored = exclusion.strip(message.stanza, rules.exclusions)
        except InvalidEvent as error:
            bad.append(Rejected(record, str(error)))
        else:
            if stored is not None:
                yield Row.of(message, stored)

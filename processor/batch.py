"""A batch: the rows and rejected records of a run of the log, and the offsets they end at."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from archive.errors import InvalidEvent
from archive.event import Message, decode
from archive.log import EVENTS, Entry, Record
from archive.store import Row
from processor import exclusion, policy


@dataclass(frozen=True, slots=True)
class Batch:
    """What one round writes.

    Attributes:
        rows: What the store gets.
        rejected: What the rejected topic gets: original bytes, reason and source.
        offsets: For each partition the next offset to read (last + 1), committed after both.
    """

    rows: list[Row] = field(default_factory=list)
    rejected: list[Entry] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides over a message.

    Attributes:
        default: The server's policy.
        exclusions: The namespaces whose elements are not stored.
    """

    default: policy.Default
    exclusions: frozenset[str]


def assemble(records: Iterable[Record], rules: Rules) -> Batch:
    """Decode, exclude and decide: every record ends as a row, as rejected, or as unwanted."""
    batch = Batch()
    for record in records:
        try:
            row = _row(decode(record.value), rules)
        except InvalidEvent as error:
            batch.rejected.append(_reject(record, error))
        else:
            if row is not None:
                batch.rows.append(row)
        batch.offsets[record.partition] = record.offset + 1
    return batch


def _row(message: Message, rules: Rules) -> Row | None:
    if not policy.admits(rules.default, message):
        return None
    stored = exclusion.strip(message.stanza, rules.exclusions)
    if stored is None:
        return None
    return Row(
        owner=message.owner,
        position=message.position,
        peer=message.peer,
        peer_resource=message.peer_resource,
        direction=message.direction,
        kind=message.kind,
        stanza=stored,
    )


def _reject(record: Record, error: InvalidEvent) -> Entry:
    source = f"{EVENTS}/{record.partition}/{record.offset}"
    return Entry(record.key, record.value, (("reason", str(error)), ("source", source)))

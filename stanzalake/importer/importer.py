"""The importer: writes a source's messages and preferences to the store in batches."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from stanzalake.config.settings import Settings
from stanzalake.errors import InvalidEvent
from stanzalake.importer import preferences, stanza
from stanzalake.importer.positions import PositionAllocator, moment
from stanzalake.importer.source import (
    ArchivedMessage,
    ArchivedPreferences,
    Foreign,
    Item,
    Source,
    Unreadable,
)
from stanzalake.model.event import Erasure, Message, Preferences
from stanzalake.model.page import MAX_LEGACY_ID
from stanzalake.model.position import Sealer, from_milliseconds
from stanzalake.store.changes import Changes
from stanzalake.store.client import Row, Store
from stanzalake.store.erasures import Erasures
from stanzalake.store.histories import Histories
from stanzalake.store.own_retention import OwnRetentions
from stanzalake.store.taken_positions import TakenPositions

_BATCH_CHARACTERS: Final = 32 * 1024 * 1024
_DAY: Final = 86_400_000

ErasuresByOwner = Mapping[str, Sequence[Erasure]]


@dataclass(slots=True)
class Summary:
    """Result of an import, as numbers of messages unless stated otherwise.

    Attributes:
        imported: Written, or would be by a dry run.
        present: Imported before.
        expired: Older than the retention period of their host or their owner.
        erased: Covered by an erasure.
        empty: Consist of excluded elements only.
        unreadable: Invalid messages, preferences and JIDs in preferences.
        preferences: Owners whose preferences were written.
        foreign: Items of hosts and stores that are not imported, by name.
        complete: Whether the source was read to the end.
    """

    imported: int = 0
    present: int = 0
    expired: int = 0
    erased: int = 0
    empty: int = 0
    unreadable: int = 0
    preferences: int = 0
    foreign: dict[str, int] = field(default_factory=dict)
    complete: bool = False


class _Candidate(NamedTuple):
    """A message to import.

    Attributes:
        archived: The message in the source.
        own: The position sealed in the id, if the message was exported from this archive.
    """

    archived: ArchivedMessage
    own: int | None

    @property
    def position(self) -> int:
        """The sealed position, or the first position of the message's millisecond."""
        return from_milliseconds(self.archived.at) if self.own is None else self.own


@dataclass(slots=True)
class _Batch:
    candidates: list[_Candidate] = field(default_factory=list)
    preferences: dict[str, Preferences] = field(default_factory=dict)
    characters: int = 0

    def full(self, limit: int) -> bool:
        size = len(self.candidates) + len(self.preferences)
        return size >= limit or self.characters >= _BATCH_CHARACTERS

    def owners(self) -> Collection[str]:
        return self.preferences.keys() | {c.archived.owner for c in self.candidates}


class Importer:
    """Imports sources into a store. Blocking.

    Args:
        store: The store, as a user that may read and insert.
        settings: The archive's settings.
        report: Called for each unreadable item.
        dry_run: Write nothing.
        clock: Returns unix time in seconds.

    Attributes:
        summary: The result so far.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        report: Callable[[Unreadable], None],
        *,
        dry_run: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.summary = Summary()
        self._store = store
        self._histories = Histories(store)
        self._taken = TakenPositions(store)
        self._erasures = Erasures(store)
        self._own_retentions = OwnRetentions(store)
        self._changes = Changes(store)
        self._sealer = Sealer(settings.id_key_list)
        self._settings = settings
        self._report = report
        self._dry_run = dry_run
        self._now = int(1000 * clock())

    def run(self, source: Source, stopped: Callable[[], bool]) -> None:
        """Import a source. Messages that exist already stay unchanged.

        Args:
            source: The source.
            stopped: Called first and after each batch; true ends the import.

        Raises:
            SourceUnavailable: The source cannot be read; earlier batches are imported.
            StoreUnavailable: The last batch may or may not be written; repeating is safe.
        """
        self.summary.complete = False
        if stopped():
            return
        for batch in self._batches(source.items()):
            self._write(batch)
            if stopped():
                return
        self.summary.complete = True

    def _batches(self, items: Iterable[Item]) -> Iterator[_Batch]:
        batch = _Batch()
        for item in items:
            self._add(item, batch)
            if batch.full(self._settings.batch_rows):
                yield batch
                batch = _Batch()
        yield batch

    def _add(self, item: Item, batch: _Batch) -> None:
        if isinstance(item, Foreign):
            self.summary.foreign[item.name] = self.summary.foreign.get(item.name, 0) + item.number
        elif isinstance(item, Unreadable):
            self._refuse(item.place, item.reason)
        else:
            try:
                self._add_valid(item, batch)
            except InvalidEvent as error:
                self._refuse(item.place, str(error))

    def _refuse(self, place: str, reason: str) -> None:
        self.summary.unreadable += 1
        self._report(Unreadable(place, reason))

    def _add_valid(self, item: ArchivedMessage | ArchivedPreferences, batch: _Batch) -> None:
        if isinstance(item, ArchivedPreferences):
            refuse = partial(self._refuse, item.place)
            batch.preferences[item.owner] = preferences.to_event(item, refuse)
        elif self._expired(item.owner, item.at):
            self.summary.expired += 1
        else:
            batch.candidates.append(self._candidate(item))
            batch.characters += len(item.stanza)

    def _expired(self, owner: str, at: int) -> bool:
        return from_milliseconds(at) < self._settings.retention.horizon(owner, self._now / 1000)

    def _candidate(self, archived: ArchivedMessage) -> _Candidate:
        if not 0 < len(archived.id) <= MAX_LEGACY_ID:
            raise InvalidEvent(f"an id has 1 to {MAX_LEGACY_ID} characters")
        if not 0 <= archived.at <= self._now + _DAY:
            raise InvalidEvent("its time is not between 1970 and tomorrow")
        return _Candidate(archived, self._sealer.open(archived.owner, archived.id))

    def _write(self, batch: _Batch) -> None:
        erasures = self._erasures.read(batch.owners())
        rows = list(self._rows(self._kept(batch), erasures))
        states = list(self._states(batch.preferences, erasures))
        if not self._dry_run:
            self._histories.write(states)
            with self._changes.announce({row.owner for row in rows}):
                self._store.insert(rows)
        self.summary.imported += len(rows)
        self.summary.preferences += len(states)

    def _kept(self, batch: _Batch) -> Sequence[_Candidate]:
        """Return the candidates that their owners' own retention keeps."""
        own = self._own_retentions.read(batch.owners())
        lowest = {owner: retention.horizon for owner, retention in own.items()}
        kept = [
            candidate
            for candidate in batch.candidates
            if from_milliseconds(candidate.archived.at) >= lowest.get(candidate.archived.owner, 0)
        ]
        self.summary.expired += len(batch.candidates) - len(kept)
        return kept

    def _rows(self, candidates: Sequence[_Candidate], erasures: ErasuresByOwner) -> Iterator[Row]:
        moments = {moment(c.archived.owner, c.position) for c in candidates}
        allocator = PositionAllocator(self._taken.read(moments))
        for candidate in candidates:
            position = _allocate(allocator, candidate)
            if position is None:
                self.summary.present += 1
                continue
            message = self._message(candidate.archived, position, erasures)
            if message is not None:
                legacy_id = "" if candidate.own else candidate.archived.id
                yield Row.of(message, message.stanza, legacy_id)

    def _message(
        self, archived: ArchivedMessage, position: int, erasures: ErasuresByOwner
    ) -> Message | None:
        try:
            message = stanza.to_event(archived, position, self._settings.exclusions)
        except InvalidEvent as error:
            self._refuse(archived.place, str(error))
            return None
        if message is None:
            self.summary.empty += 1
            return None
        if any(erasure.covers(message) for erasure in erasures.get(message.owner, ())):
            self.summary.erased += 1
            return None
        return message

    def _states(
        self, imported: Mapping[str, Preferences], erasures: ErasuresByOwner
    ) -> Iterator[Preferences]:
        histories = self._histories.read(imported)
        for owner, event in imported.items():
            state = preferences.append(histories[owner], event)
            deleted = any(erasure.account for erasure in erasures.get(owner, ()))
            if state is not None and not deleted:
                yield state


def _allocate(allocator: PositionAllocator, candidate: _Candidate) -> int | None:
    owner, legacy_id = candidate.archived.owner, candidate.archived.id
    if candidate.own is not None:
        return allocator.reserve(owner, candidate.own)
    return allocator.allocate(owner, legacy_id, candidate.archived.at)

"""The importer: a source's messages and preferences, batch by batch, into the store."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from stanzalake.config.settings import Settings
from stanzalake.errors import InvalidEvent
from stanzalake.importer import preferences, stanza
from stanzalake.importer.placing import Placing, moment
from stanzalake.importer.source import Archived, Foreign, Item, Source, Unreadable, Wished
from stanzalake.model.event import Erasure, Message, Preferences
from stanzalake.model.page import MAX_LEGACY_ID
from stanzalake.model.position import Sealer, from_milliseconds
from stanzalake.store.client import Row, Store
from stanzalake.store.erasures import Erasures
from stanzalake.store.histories import Histories
from stanzalake.store.taken_positions import TakenPositions

_BATCH_CHARACTERS: Final = 32 * 1024 * 1024
_DAY: Final = 86_400_000

Forgotten = Mapping[str, Sequence[Erasure]]
"""What owners had erased."""


@dataclass(slots=True)
class Summary:
    """What an import came to, in numbers of messages but for the preferences.

    Attributes:
        imported: Written; by a dry run, what would be.
        present: There already, from an earlier import.
        expired: Older than messages are kept.
        erased: Their owner had them erased since.
        empty: Nothing is left of them without what is excluded.
        unreadable: Damaged, preferences included.
        preferences: Owners whose preferences were written.
        foreign: What belongs to no archive of ours, and how many.
        complete: Whether the source was read to its end.
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
        archived: As the source has it.
        own: The position that its id seals, if it was exported from here.
    """

    archived: Archived
    own: int | None

    @property
    def position(self) -> int:
        """The position behind its id, or that of the beginning of its millisecond."""
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
        return self.preferences.keys() | {one.archived.owner for one in self.candidates}


class Importer:
    """Imports sources into one store. Its calls block.

    Args:
        store: Where it goes, for a user that may read and insert.
        settings: The archive's settings.
        complain: Is told where something is damaged, and why.
        dry_run: Whether nothing is written.
        clock: Gives the unix time in seconds.

    Attributes:
        summary: What it came to so far.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        complain: Callable[[Unreadable], None],
        *,
        dry_run: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.summary = Summary()
        self._store = store
        self._histories = Histories(store)
        self._places = TakenPositions(store)
        self._erasures = Erasures(store)
        self._sealer = Sealer(settings.id_key_list)
        self._settings = settings
        self._complain = complain
        self._dry_run = dry_run
        self._now = int(1000 * clock())

    def run(self, source: Source, stopped: Callable[[], bool]) -> None:
        """Import a source; what is there already stays as it is.

        Args:
            source: Where the messages are.
            stopped: Is called behind each batch; true ends the import there.

        Raises:
            SourceUnavailable: The source cannot be read; whole batches before are imported.
            StoreUnavailable: The last batch may or may not be written: import again.
        """
        self.summary.complete = False
        for batch in self._batches(source.items()):
            self._write(batch)
            if stopped():
                return
        self.summary.complete = True

    def _batches(self, items: Iterable[Item]) -> Iterator[_Batch]:
        batch = _Batch()
        for item in items:
            self._sort(item, batch)
            if batch.full(self._settings.batch_rows):
                yield batch
                batch = _Batch()
        yield batch

    def _sort(self, item: Item, batch: _Batch) -> None:
        if isinstance(item, Foreign):
            self.summary.foreign[item.what] = self.summary.foreign.get(item.what, 0) + item.number
        elif isinstance(item, Unreadable):
            self._refuse(item.place, item.reason)
        else:
            try:
                self._take(item, batch)
            except InvalidEvent as error:
                self._refuse(item.place, str(error))

    def _refuse(self, place: str, reason: str) -> None:
        self.summary.unreadable += 1
        self._complain(Unreadable(place, reason))

    def _take(self, item: Archived | Wished, batch: _Batch) -> None:
        if isinstance(item, Wished):
            batch.preferences[item.owner] = preferences.read(item)
        elif self._expired(item.at):
            self.summary.expired += 1
        else:
            batch.candidates.append(self._candidate(item))
            batch.characters += len(item.stanza)

    def _expired(self, at: int) -> bool:
        kept = self._settings.expires_after
        return kept is not None and at < self._now - 1000 * kept

    def _candidate(self, archived: Archived) -> _Candidate:
        if not 0 < len(archived.id) <= MAX_LEGACY_ID:
            raise InvalidEvent(f"an id has 1 to {MAX_LEGACY_ID} characters")
        if not 0 <= archived.at <= self._now + _DAY:
            raise InvalidEvent("its time is not between 1970 and tomorrow")
        return _Candidate(archived, self._sealer.open(archived.owner, archived.id))

    def _write(self, batch: _Batch) -> None:
        forgotten = self._erasures.read(batch.owners())
        rows = list(self._rows(batch.candidates, forgotten))
        states = list(self._states(batch.preferences, forgotten))
        if not self._dry_run:
            self._histories.write(states)
            self._store.insert(rows)
        self.summary.imported += len(rows)
        self.summary.preferences += len(states)

    def _rows(self, candidates: Sequence[_Candidate], forgotten: Forgotten) -> Iterator[Row]:
        moments = {moment(one.archived.owner, one.position) for one in candidates}
        placing = Placing(self._places.read(moments))
        for candidate in candidates:
            position = _place(placing, candidate)
            if position is None:
                self.summary.present += 1
                continue
            message = self._message(candidate.archived, position, forgotten)
            if message is not None:
                legacy_id = "" if candidate.own else candidate.archived.id
                yield Row.of(message, message.stanza, legacy_id)

    def _message(self, archived: Archived, position: int, forgotten: Forgotten) -> Message | None:
        try:
            message = stanza.read(archived, position, self._settings.exclusions)
        except InvalidEvent as error:
            self._refuse(archived.place, str(error))
            return None
        if message is None:
            self.summary.empty += 1
            return None
        if any(erasure.covers(message) for erasure in forgotten.get(message.owner, ())):
            self.summary.erased += 1
            return None
        return message

    def _states(
        self, wanted: Mapping[str, Preferences], forgotten: Forgotten
    ) -> Iterator[Preferences]:
        histories = self._histories.read(wanted)
        for owner, wished in wanted.items():
            state = preferences.following(histories[owner], wished)
            gone = any(erasure.account for erasure in forgotten.get(owner, ()))
            if state is not None and not gone:
                yield state


def _place(placing: Placing, candidate: _Candidate) -> int | None:
    owner, legacy_id = candidate.archived.owner, candidate.archived.id
    if candidate.own is not None:
        return placing.keep(owner, candidate.own)
    return placing.give(owner, legacy_id, candidate.archived.at)

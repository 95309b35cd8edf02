"""The sink: writes batches to the store, and looks up histories."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from processor.batch import Batch, Decoded
from processor.history_cache import HistoryCache
from stanzalake.model.event import Erasure, Message, OwnRetention
from stanzalake.model.history import History, OwnerState, merge
from stanzalake.store.changes import Changes
from stanzalake.store.client import Store
from stanzalake.store.histories import Histories
from stanzalake.store.own_retention import OwnRetentions
from stanzalake.store.tombstones import TombstoneRow, Tombstones


class _Moment(NamedTuple):
    """The state of an owner for messages between two positions, as it was read last.

    Attributes:
        owner: Bare JID of the archive's owner.
        low: The position below the first of such messages.
        high: The highest position of such a message.
        state: The newest preferences, else an activation, before them.
    """

    owner: str
    low: int
    high: int
    state: OwnerState | None

    def includes(self, message: Message) -> bool:
        """Return whether a message lies between the positions."""
        return message.owner == self.owner and self.low < message.position <= self.high


_NEVER = _Moment("", 0, 0, None)


class Sink:
    """The loop's interface to the store. Blocking.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._histories = Histories(store)
        self._tombstones = Tombstones(store)
        self._retentions = OwnRetentions(store)
        self._changes = Changes(store)
        self._cache = HistoryCache(self._histories)
        self._moment = _NEVER

    def histories(self, decoded: Decoded) -> Mapping[str, History]:
        """Return the history of each owner, including the decoded states.

        Raises:
            StoreUnavailable: The store does not answer.
            ResultTooLarge: Too much for a single read: ask for fewer owners.
        """
        return self._cache.get(decoded.owners, decoded.states)

    def earlier(self, message: Message, history: History) -> History:
        """Return a history with the states right before a message that is older than the history.

        Only messages that are replayed without the states around them are older: those of a batch
        are in its histories.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        moment = self._moment
        if not moment.includes(message):
            state, following = self._histories.before(message.owner, message.position)
            first = next(s.position for s in history if not isinstance(s, Erasure))
            low = state.position if state else -1
            moment = self._moment = _Moment(message.owner, low, following or first, state)
        erasures = [state for state in history if isinstance(state, Erasure)]
        return merge(erasures, [moment.state] if moment.state else [])

    def write_states(self, batch: Batch) -> None:
        """Write a batch's states, tombstones and own retentions, in force on return. Idempotent.

        Raises:
            StoreUnavailable: The outcome is unknown: write the states again.
            RowRefused: The store rejects at least one state: write fewer at a time.
            StoreRefused: The store rejects any state.
        """
        erasures = [state for state in batch.states if isinstance(state, Erasure)]
        hiding: Sequence[Erasure | TombstoneRow | OwnRetention] = (
            *erasures,
            *batch.tombstones,
            *batch.retentions,
        )
        with self._changes.announce({change.owner for change in hiding}):
            self._histories.write(batch.states)
            self._tombstones.write(batch.tombstones)
            removals = (erasure for erasure in erasures if erasure.account)
            self._retentions.write((*batch.retentions, *removals))
        self._cache.settle(batch.states)
        self._moment = _NEVER

    def write_rows(self, batch: Batch) -> None:
        """Write a batch's messages, readable on return. Idempotent; raises as `write_states`."""
        with self._changes.announce(batch.replayed):
            self._store.insert(batch.rows)

    def reject(self, batch: Batch) -> None:
        """Drop the states of a batch of which the store has rejected at least a row."""
        self._cache.settle(batch.states)
        self._cache.invalidate()

    def invalidate(self) -> None:
        """Drop cached histories, which other workers may have changed."""
        self._cache.invalidate()
        self._moment = _NEVER

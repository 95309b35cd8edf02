"""The sink: writes batches to the store, and looks up histories."""

from collections.abc import Mapping

from processor.batch import Batch, Decoded
from processor.history_cache import HistoryCache
from stanzalake.model.event import Erasure
from stanzalake.model.history import History
from stanzalake.store.changes import Changes
from stanzalake.store.client import Store
from stanzalake.store.histories import Histories


class Sink:
    """The loop's interface to the store. Blocking.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._histories = Histories(store)
        self._changes = Changes(store)
        self._cache = HistoryCache(self._histories)

    def histories(self, decoded: Decoded) -> Mapping[str, History]:
        """Return the history of each owner, including the decoded states.

        Raises:
            StoreUnavailable: The store does not answer.
            ResultTooLarge: Too much for a single read: ask for fewer owners.
        """
        return self._cache.get(decoded.owners, decoded.states)

    def write_states(self, batch: Batch) -> None:
        """Write a batch's states, readable and in force on return. Idempotent.

        Raises:
            StoreUnavailable: The outcome is unknown: write the states again.
            RowRefused: The store rejects at least one state: write fewer at a time.
            StoreRefused: The store rejects any state.
        """
        with self._changes.announce({s.owner for s in batch.states if isinstance(s, Erasure)}):
            self._histories.write(batch.states)
        self._cache.settle(batch.states)

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

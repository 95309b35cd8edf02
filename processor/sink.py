"""The sink: writes batches to the store, and looks up histories."""

from collections.abc import Mapping

from processor.batch import Batch, Decoded
from processor.history_cache import HistoryCache
from stanzalake.model.history import History
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.histories import Histories


class Sink:
    """The loop's interface to the store. Blocking.

    Args:
        store: The store.
        deletion: Removal of erased rows.
    """

    def __init__(self, store: Store, deletion: Deletion) -> None:
        self._store = store
        self._deletion = deletion
        self._histories = Histories(store)
        self._cache = HistoryCache(self._histories)

    def histories(self, decoded: Decoded) -> Mapping[str, History]:
        """Return the history of each owner, including the decoded states.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        return self._cache.get(decoded.owners, decoded.states)

    def write(self, batch: Batch) -> None:
        """Write a batch, readable on return. Idempotent.

        Raises:
            StoreUnavailable: The outcome is unknown: write the batch again.
            RowRefused: The store rejects at least one row: write smaller batches.
            StoreRefused: The store rejects any row.
        """
        # Recorded first, so that later rows of the same messages are filtered.
        self._histories.write(batch.states)
        if batch.rows:
            self._store.insert(batch.rows)
        self._deletion.erase(batch.erasures)

    def invalidate(self) -> None:
        """Drop cached histories, after a rebalance or a rejected state."""
        self._cache.invalidate()

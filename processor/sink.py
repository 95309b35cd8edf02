"""The sink: where a batch is written, and where the histories that judge it are looked up."""

from collections.abc import Mapping

from processor.batch import Batch, Decoded
from processor.history_cache import HistoryCache
from stanzalake.model.history import History
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.histories import Histories


class Sink:
    """The store, as the loop needs it. Its calls block.

    Args:
        store: Where everything goes.
        deletion: Takes out of it what is to be forgotten.
    """

    def __init__(self, store: Store, deletion: Deletion) -> None:
        self._store = store
        self._deletion = deletion
        self._histories = Histories(store)
        self._cache = HistoryCache(self._histories)

    def histories(self, decoded: Decoded) -> Mapping[str, History]:
        """Give what the owners of a run of records said, that run included.

        Raises:
            StoreUnavailable: The store did not answer this time.
        """
        return self._cache.get(decoded.owners, decoded.states)

    def write(self, batch: Batch) -> None:
        """Write a batch; it is readable when this returns, and the same again is no change.

        Raises:
            StoreUnavailable: It may or may not be written: write it again.
            RowRefused: The values of one record, at least, do not fit: divide, and write again.
            StoreRefused: The store says no to any row, and would again.
        """
        # An erasure is recorded before it is carried out: what comes later meets the record.
        self._histories.write(batch.states)
        if batch.rows:
            self._store.insert(batch.rows)
        self._deletion.erase(batch.erasures)

    def invalidate(self) -> None:
        """Forget histories: others may have written since, or the store refused a part."""
        self._cache.invalidate()

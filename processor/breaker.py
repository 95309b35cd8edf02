"""The circuit breaker: ends a worker that would otherwise reject one record after the other."""

from collections.abc import Iterator, Sequence

from processor.batch import Rejected
from stanzalake.errors import TooManyRejected
from stanzalake.log.base import Record


class Breaker:
    """Counts the records that were rejected in a row, as they were read.

    Args:
        most: Rejected in a row after which it trips; 0 is never.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._row = 0

    def allowed(self, records: Sequence[Record], rejected: Sequence[Rejected]) -> Sequence[Record]:
        """Give the records up to the one that trips it, so that no more are kept aside.

        Args:
            records: What was read, in its order.
            rejected: Those of them that are rejected.
        """
        if not self._most or self._row + len(rejected) < self._most:
            return records
        rows = enumerate(self._rows(records, rejected), 1)
        return records[: next((n for n, row in rows if row >= self._most), len(records))]

    def count(self, records: Sequence[Record], rejected: Sequence[Rejected]) -> None:
        """Count what is settled.

        Raises:
            TooManyRejected: So many were rejected in a row; they are kept, and committed.
        """
        self._row = list(self._rows(records, rejected))[-1] if rejected else 0
        if self._most and self._row >= self._most:
            raise TooManyRejected(
                f"{self._row} events in a row were rejected, the last because: "
                f"{rejected[-1].reason}. Look at what writes to the log, and at the rejected with "
                "`stanzalake rejected list`. They are kept, and a restart goes on behind them; "
                "STANZALAKE_MAX_REJECTED_IN_A_ROW sets how many are too many"
            )

    def _rows(self, records: Sequence[Record], rejected: Sequence[Rejected]) -> Iterator[int]:
        """Give how many were rejected in a row, after each record."""
        places = {(one.record.partition, one.record.offset) for one in rejected}
        row = self._row
        for record in records:
            row = row + 1 if (record.partition, record.offset) in places else 0
            yield row

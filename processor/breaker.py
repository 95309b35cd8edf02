"""Circuit breaker: stops a processor that turns record after record into dead letters."""

from collections.abc import Iterator, Sequence

from processor.batch import DeadLetter
from stanzalake.errors import TooManyRejected
from stanzalake.log.base import Record


class Breaker:
    """Counts consecutive dead letters.

    Those at whose content a user may be at fault are neither counted nor end a run: no user can
    stop a processor.

    Args:
        limit: Consecutive dead letters that trip the breaker; 0 for no limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._run = 0

    def truncate(
        self, records: Sequence[Record], dead_letters: Sequence[DeadLetter]
    ) -> Sequence[Record]:
        """Return the records up to and including the one that trips the breaker.

        Args:
            records: Records in the order of reading.
            dead_letters: Those that are dead letters.
        """
        if not self._limit or self._run + len(dead_letters) < self._limit:
            return records
        runs = enumerate(self._runs(records, dead_letters), 1)
        return records[: next((n for n, run in runs if run >= self._limit), len(records))]

    def count(self, records: Sequence[Record], dead_letters: Sequence[DeadLetter]) -> None:
        """Count committed records.

        Raises:
            TooManyRejected: The limit is reached; all dead letters are kept and committed.
        """
        self._run = list(self._runs(records, dead_letters))[-1] if dead_letters else 0
        if self._limit and self._run >= self._limit:
            raise TooManyRejected(
                f"{self._run} events in a row were rejected, the last because: "
                f"{dead_letters[-1].reason}. Look at what writes to the log, and at the rejected "
                "with `stanzalake rejected list`. They are kept, and a restart goes on behind "
                "them; STANZALAKE_MAX_REJECTED_IN_A_ROW sets how many are too many"
            )

    def _runs(self, records: Sequence[Record], dead_letters: Sequence[DeadLetter]) -> Iterator[int]:
        """Yield the number of consecutive dead letters after each record."""
        counted = {
            (letter.record.partition, letter.record.offset): not letter.by_content
            for letter in dead_letters
        }
        run = self._run
        for record in records:
            place = (record.partition, record.offset)
            run = run + counted[place] if place in counted else 0
            yield run

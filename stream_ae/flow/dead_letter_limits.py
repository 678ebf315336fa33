"""How many dead letters of a partition are too many: in a row, and as a share of its newest records."""

from collections.abc import Iterator, Mapping

import numpy as np

from stream_ae.errors import TooManyDeadLetters
from stream_ae.flow.chunk import Chunk
from stream_ae.flow.tally import Tally
from stream_ae.records import Int64, Partition, Reason, RecordBatch, Rejection
from stream_ae.settings import DeadLetterSettings

REMEDY = (
    "a restart does not begin the count anew; if the format has changed, mend the sender or the decode settings; if "
    "these records should go to the dead letters"
)


class DeadLetterLimits:
    """Judges what leaves, in its order; a change of format must not silently drain a topic.

    Each partition is judged by its own records alone, whoever reads it and whatever else they read: so the verdict is
    the same after a restart or a rebalance.
    """

    def __init__(self, limits: DeadLetterSettings) -> None:
        self._limits = limits

    def counted(self, chunk: Chunk, rows: Int64, tallies: Mapping[int, Tally]) -> dict[int, Tally]:
        """The tallies of these rows' partitions after the rows have left. Raises TooManyDeadLetters: they must not."""
        leaving = set(rows.tolist()) if chunk.rejections else set()
        broken = {rejection.row: rejection for rejection in chunk.rejections if rejection.row in leaving}
        return {
            number: self._counted(chunk.records, mine, broken, tallies[number])
            for number, mine in _by_partition(chunk.records, rows)
        }

    def _counted(self, records: RecordBatch, rows: Int64, broken: Mapping[int, Rejection], tally: Tally) -> Tally:
        over, before = self._limits.share_over, -1
        mine = np.flatnonzero(np.isin(rows, list(broken))).tolist() if broken else []
        for place in mine:
            tally = tally.with_good(place - before - 1, over).with_broken(over)
            self._check(tally, records, broken[int(rows[place])])
            before = place
        return tally.with_good(len(rows) - before - 1, over)

    def _check(self, tally: Tally, records: RecordBatch, last: Rejection) -> None:
        limits = self._limits
        if tally.in_a_row > limits.max_in_a_row:
            raise TooManyDeadLetters(
                f"{tally.in_a_row} records in a row could not be used, the last one {_told(records, last)}; {REMEDY}, "
                "raise dead_letters.max_in_a_row"
            )
        if tally.records >= limits.share_over and tally.broken > limits.max_share * tally.records:
            raise TooManyDeadLetters(
                f"{tally.broken} of the newest {tally.records} records ({tally.broken / tally.records:.0%}) could not "
                f"be used, the last one {_told(records, last)}; {REMEDY}, raise dead_letters.max_share"
            )


def _by_partition(records: RecordBatch, rows: Int64) -> Iterator[tuple[int, Int64]]:
    partition = records.partition[rows]
    numbers = np.flatnonzero(np.bincount(partition)).tolist()
    for number in numbers:
        yield number, rows if len(numbers) == 1 else rows[partition == number]


def _told(records: RecordBatch, rejection: Rejection) -> str:
    where = Partition(records.topic, int(records.partition[rejection.row]))
    reason = Reason(rejection.reason)
    return f"at {where.topic}/{where.number}/{int(records.offset[rejection.row])}: {reason.value}, {rejection.message}"

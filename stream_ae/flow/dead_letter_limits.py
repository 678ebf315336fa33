"""How many dead letters are too many: in a row, and as a share of the newest records."""

from collections import deque

import numpy as np

from stream_ae.errors import TooManyDeadLetters
from stream_ae.flow.chunk import Chunk
from stream_ae.records import Int64, Partition, Reason, RecordBatch, Rejection
from stream_ae.settings import DeadLetterSettings

REMEDY = (
    "if the format has changed, mend the sender or the decode settings; if these records should go to the dead letters"
)


class DeadLetterLimits:
    """Counts what leaves, in its order; a change of format must not silently drain a topic."""

    def __init__(self, limits: DeadLetterSettings) -> None:
        self._limits = limits
        self._in_a_row = 0
        # Records and dead letters among them, batch by batch; only whole batches fall out of the window.
        self._newest: deque[tuple[int, int]] = deque()
        self._records = 0
        self._broken = 0

    def count(self, chunk: Chunk, rows: Int64) -> None:
        """Take note of rows that are about to leave. Raises TooManyDeadLetters: then they must not."""
        leaving = set(rows.tolist()) if chunk.rejections else set()
        broken = [rejection for rejection in chunk.rejections if rejection.row in leaving]
        self._count_in_a_row(chunk.records, rows, broken)
        self._count_share(chunk.records, len(rows), broken)

    def _count_in_a_row(self, records: RecordBatch, rows: Int64, broken: list[Rejection]) -> None:
        places = np.searchsorted(rows, [rejection.row for rejection in broken]).tolist()
        before = -1
        for place, rejection in zip(places, broken, strict=True):
            self._in_a_row = self._in_a_row + 1 if place == before + 1 else 1
            before = place
            if self._in_a_row > self._limits.max_in_a_row:
                raise TooManyDeadLetters(
                    f"{self._in_a_row} records in a row could not be used, the last one {_told(records, rejection)}; "
                    f"{REMEDY}, raise dead_letters.max_in_a_row"
                )
        if before + 1 < len(rows):
            self._in_a_row = 0

    def _count_share(self, records: RecordBatch, count: int, broken: list[Rejection]) -> None:
        self._newest.append((count, len(broken)))
        self._records += count
        self._broken += len(broken)
        while self._records - self._newest[0][0] >= self._limits.share_over:
            count, dead = self._newest.popleft()
            self._records -= count
            self._broken -= dead
        share = self._broken / self._records
        if broken and self._records >= self._limits.share_over and share > self._limits.max_share:
            raise TooManyDeadLetters(
                f"{self._broken} of the newest {self._records} records ({share:.0%}) could not be used, the last one "
                f"{_told(records, broken[-1])}; {REMEDY}, raise dead_letters.max_share"
            )


def _told(records: RecordBatch, rejection: Rejection) -> str:
    where = Partition(records.topic, int(records.partition[rejection.row]))
    reason = Reason(rejection.reason)
    return f"at {where.topic}/{where.number}/{int(records.offset[rejection.row])}: {reason.value}, {rejection.message}"

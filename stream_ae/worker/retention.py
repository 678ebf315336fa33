"""What retention had deleted before it was read: said and counted, once each time a partition is assigned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stream_ae.clock import Clock
from stream_ae.errors import TransientError
from stream_ae.ports import RecordSource
from stream_ae.records import Partition, Position, RecordBatch
from stream_ae.telemetry import Log, WorkerMetrics
from stream_ae.worker.status import StatusBoard

log = Log("worker")

# A partition that brings no record for so long may hold none any more: then the brokers are asked all the same.
QUIET_S = 5.0
ASK_AGAIN_S = 5.0
# The loop waits for the answer.
ANSWER_WITHIN_S = 1.0


@dataclass(slots=True)
class _Expected:
    """Where a partition was to be read from: [rewind, committed) rebuilds, from `committed` on is answered.

    first:  offset of the first record that came, -1 = none yet.
    """

    rewind: int
    committed: int
    since_s: float
    first: int = -1


class RetentionCheck:
    """Compares where the reading of each assigned partition begins with where it should have begun.

    A client that asks for deleted offsets is silently given the oldest that there are. But a first record further on
    proves nothing: compaction and transactions leave gaps. So the brokers are asked for the partition's beginning:
    only where there is a gap, or nothing comes; outside the rebalance; and again later if none answers.
    """

    def __init__(self, source: RecordSource, board: StatusBoard, metrics: WorkerMetrics, clock: Clock) -> None:
        self._source = source
        self._board = board
        self._metrics = metrics
        self._clock = clock
        self._expected: dict[Partition, _Expected] = {}
        # What lies before has been told of: going back after an aborted transaction is no second loss.
        self._told: dict[Partition, int] = {}
        self._next_s = clock.monotonic_s()

    def assigned(self, committed: Mapping[Partition, Position | None], starts: Mapping[Partition, int]) -> None:
        """These will be read from `starts`, else from the committed offset; without one, nothing is expected."""
        now_s = self._clock.monotonic_s()
        for partition, position in committed.items():
            self._expected.pop(partition, None)
            if position is not None:
                rewind, told = starts.get(partition, position.offset), self._told.get(partition, 0)
                self._expected[partition] = _Expected(max(rewind, told), max(position.offset, told), now_s)

    def forget(self, partitions: Sequence[Partition]) -> None:
        """These belong to somebody else."""
        for partition in partitions:
            self._expected.pop(partition, None)
            self._told.pop(partition, None)

    def saw(self, records: RecordBatch) -> None:
        """These were polled. Costs nothing once the first record of every partition has come."""
        for partition, expected in list(self._expected.items()):
            rows = np.flatnonzero(records.partition == partition.number)
            if expected.first >= 0 or not len(rows):
                continue
            expected.first = int(records.offset[rows[0]])
            if expected.first <= expected.rewind:
                del self._expected[partition]

    def look(self) -> None:
        """Ask about the partitions that leave a doubt, if there are any; waits for ANSWER_WITHIN_S at most."""
        now_s = self._clock.monotonic_s()
        doubtful = [p for p, at in self._expected.items() if at.first >= 0 or now_s - at.since_s >= QUIET_S]
        if not doubtful or now_s < self._next_s:
            return
        try:
            begins = self._source.begins(doubtful, ANSWER_WITHIN_S)
        except TransientError as error:
            self._next_s = now_s + ASK_AGAIN_S
            log.debug("beginnings of partitions looked up later", reason=str(error))
            return
        for partition in doubtful:
            self._settle(partition, self._expected.pop(partition), begins[partition])

    def _settle(self, partition: Partition, expected: _Expected, begin: int) -> None:
        # What was read before it was deleted is not missing.
        oldest = min(begin, expected.first) if expected.first >= 0 else begin
        if oldest <= expected.rewind:
            return
        self._told[partition] = oldest
        where = {"partition": f"{partition.topic}/{partition.number}", "rewind": expected.rewind}
        if expected.rewind < expected.committed:
            self._metrics.rewinds_cut.inc()
        gone = oldest - expected.committed
        if gone <= 0:
            log.warning(
                "retention cut the rewind span: windows begin padded", **where, oldest=oldest, live=expected.committed
            )
            return
        self._metrics.lost_offsets.inc(gone)
        self._board.lost(gone)
        log.error(
            "retention deleted records before they were read: they are lost, raise the raw topic's retention",
            **where,
            committed=expected.committed,
            oldest=oldest,
            lost_offsets=gone,
        )

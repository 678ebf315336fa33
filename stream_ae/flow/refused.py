"""Records of a batch that cannot be used, and checks that all kinds of samples share."""

import numpy as np

from stream_ae.errors import RecordError
from stream_ae.flow.timestamps import iso_utc
from stream_ae.records import Bool, Int64, Reason, RecordBatch, Rejection


class Refused:
    """The records of a batch that cannot be used; of several reasons the first one found stays.

    Keeps sentences, not exceptions: these hold on to the frames that they came through.
    """

    def __init__(self, batch: RecordBatch) -> None:
        self._batch = batch
        self._by_row: dict[int, Rejection] = {}

    def __contains__(self, row: int) -> bool:
        return row in self._by_row

    def add(self, row: int, error: RecordError) -> None:
        where = f"{self._batch.topic}/{self._batch.partition[row]}/{self._batch.offset[row]}"
        self._by_row.setdefault(row, Rejection(row, Reason(error.reason), f"{error} (record {where})"))

    def rejections(self) -> list[Rejection]:
        return list(self._by_row.values())


def check_ahead(batch: RecordBatch, row: Int64, timestamp_ms: Int64, limit_s: float, refused: Refused) -> None:
    """A clock that runs ahead: judged by the record's own Kafka time, so that it is the same at every replay."""
    kafka_ms = batch.timestamp_ms[row]
    ahead: Bool = (timestamp_ms > kafka_ms + round(limit_s * 1000)) & (kafka_ms >= 0)
    for index in np.flatnonzero(ahead).tolist():
        sample, kafka = iso_utc(np.array([timestamp_ms[index], kafka_ms[index]]))
        what = f"timestamp {sample} is more than {limit_s:g} s ahead of the record's Kafka time {kafka}"
        advice = "set the sender's clock or raise decode.max_clock_skew_s"
        refused.add(int(row[index]), RecordError(Reason.TIMESTAMP_AHEAD, f"{what}; {advice}"))


def too_many_missing(share: float, limit: float) -> RecordError:
    """The reason for a record of whose values so large a share is missing."""
    return RecordError(
        Reason.TOO_MANY_MISSING, f"{share:.0%} of the values are missing; decode.max_missing allows {limit:.0%}"
    )

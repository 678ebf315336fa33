"""What leaves, in columns: for those who want the numbers and not the records."""

from collections.abc import Sequence
from dataclasses import dataclass

from stream_ae.records import Bool, Float32, Float64, Int32, Int64, Reason


@dataclass(frozen=True, slots=True)
class SampleTable:
    """N samples that leave together, in the order of their records, and the records among them without any.

    streams, stream:   names, and (N,) which of them.
    partition, offset: (N,) of the raw record; those of a block are alike.
    x_hat, score, p_value: as in `Inference`; flag: (N,) whether it is an anomaly.
    refused:           partition, offset and reason of each record that became a dead letter.
    """

    streams: Sequence[str]
    stream: Int32
    timestamp_ms: Int64
    partition: Int32
    offset: Int64
    x_hat: Float32
    score: Float64
    p_value: Float64
    flag: Bool
    refused: Sequence[tuple[int, int, Reason]]

    def __len__(self) -> int:
        return len(self.stream)

"""How records hold samples: the one seam between the flow and what a topic carries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stream_ae.flow.columns import Decoded
from stream_ae.records import Float32, Float64, Int32, Int64, RecordBatch


@dataclass(frozen=True, slots=True)
class FlaggedSamples:
    """K samples to report: row i of every column is one of them.

    stream:      the stream's id.
    kafka_ms:    Kafka time of its record, -1 where it has none; partition, offset: where that record stands.
    state:       `open`, `ongoing` or `close`.
    threshold:   what the score was held against; `profile`: the version of the stream's profile, None without one.
    observed, expected, share:  (K, V) of the V values of a sample; observed NaN = missing.
    """

    stream: Sequence[str]
    timestamp_ms: Int64
    kafka_ms: Int64
    partition: Int32
    offset: Int64
    state: Sequence[str]
    score: Float64
    threshold: Float64
    profile: Sequence[str | None]
    p_value: Float64
    observed: Float32
    expected: Float32
    share: Float32

    def __len__(self) -> int:
        return len(self.stream)


class Codec(Protocol):
    """Reads samples out of records and writes cleaned ones in their place."""

    @property
    def width(self) -> int:
        """V, how many values a sample has."""
        ...

    def decode(self, batch: RecordBatch) -> Decoded:
        """Samples of all records that can be used, and the reason for each that cannot."""
        ...

    def cleaned(
        self, records: RecordBatch, decoded: Decoded, rows: Int32, first: Int64, x_hat: Float32
    ) -> list[bytes | None]:
        """The bytes of these rows with x_hat (N, V) for the values; the samples of rows[i] begin at first[i]."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...

    def where(self, flagged: FlaggedSamples, index: int) -> Mapping[str, object]:
        """What a flagged record says about where in its sample the fault is."""
        ...

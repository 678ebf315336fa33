"""Columnar batches that travel through everything: frozen, no behaviour beyond their length.

Axes: N records or samples, B windows, C channels, T samples of a window. Row i of every column is the same thing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

Headers = Sequence[tuple[str, bytes]]
"""Kafka record headers in their order; names may repeat. No headers = an empty tuple."""

NO_HEADERS: Headers = ()


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a consumer group stands in a partition: what a commit writes and an assignment gives back.

    offset:     the next record to answer; everything before it has left its trace.
    metadata:   opaque text that travels with the committed offset: what the next owner needs (`flow.offsets`).
    """

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Records of one topic, in offset order within each partition.

    timestamp_ms is Kafka's own (create or log-append time), -1 where it has none; a value of None is a tombstone.
    """

    topic: str
    partition: Int32
    offset: Int64
    timestamp_ms: Int64
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers]

    def __len__(self) -> int:
        return len(self.offset)


def empty_record_batch(topic: str) -> RecordBatch:
    """What a poll returns when nothing came."""
    return RecordBatch(topic, np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64), (), (), ())


class Reason(StrEnum):
    """Why a record became a dead letter: the value of its `stream-ae-reason` header and a metric label."""

    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    WRONG_SHAPE = "wrong_shape"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_CHANNEL = "unknown_channel"
    WRONG_CHANNEL_COUNT = "wrong_channel_count"
    NOT_FINITE = "not_finite"
    EMPTY = "empty"
    NO_STREAM = "no_stream"
    NO_TIMESTAMP = "no_timestamp"
    BAD_TIMESTAMP = "bad_timestamp"
    TIMESTAMP_BACKWARDS = "timestamp_backwards"
    TIMESTAMP_AHEAD = "timestamp_ahead"
    DUPLICATE_TIMESTAMP = "duplicate_timestamp"
    TOO_MANY_MISSING = "too_many_missing"
    MODEL_FAILED = "model_failed"
    NOT_AN_IMAGE = "not_an_image"
    DAMAGED_IMAGE = "damaged_image"
    TRUNCATED_IMAGE = "truncated_image"
    IMAGE_TOO_LARGE = "image_too_large"
    WRONG_FRAME = "wrong_frame"


class Rejection(NamedTuple):
    """One record that cannot be used: its row in the record batch, why, and the sentence for a person."""

    row: int
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Decoded samples of one record batch, in record order; a block record gives several samples.

    row:           (N,) which record of the batch each sample came from, never decreasing.
    stream:        (N,) index into `streams`.
    streams:       the distinct stream ids of this batch.
    timestamp_ms:  (N,) milliseconds since the Unix epoch.
    values:        (N, C) float32 in the input's units, NaN = missing.
    """

    row: Int32
    stream: Int32
    streams: Sequence[str]
    timestamp_ms: Int64
    values: Float32

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True)
class Inference:
    """What a model says of B windows about their target sample (the newest one, or `lookahead` before it).

    x_hat:    (B, C) float32 denoised target sample in the input's units, finite, missing values filled in.
    score:    (B,) float64, higher = more anomalous; a window the model cannot score finitely has +inf.
    p_value:  (B,) float64 in [0, 1], calibrated tail probability of the score on normal data.
    share:    (B, C) float32, each channel's share of the score, rows sum to 1.
    code:     (B, K) float32 latent codes, or None where nobody asked for them.
    expected: (B, C) float32, what the score compares the target with; None: x_hat. A value that is left alone is
              still explained by it.
    """

    x_hat: Float32
    score: Float64
    p_value: Float64
    share: Float32
    code: Float32 | None = None
    expected: Float32 | None = None

    @property
    def compared(self) -> Float32:
        """`expected`, or what stands for it."""
        return self.x_hat if self.expected is None else self.expected

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True)
class OutgoingBatch:
    """Records to produce to one topic. partition -1 = let the key decide; timestamp_ms -1 = now."""

    topic: str
    partition: Int32
    timestamp_ms: Int64
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model made an output: registered name, version ("3"), content digest of its folder."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered version as the store knows it. `created_ms` is milliseconds since the Unix epoch; `description`
    is the sentence that a person reads beside its number."""

    name: str
    version: str
    digest: str
    created_ms: int
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    description: str = ""

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity(self.name, self.version, self.digest)

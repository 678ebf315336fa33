"""Known input: seeded records of several streams, some broken, and what an undisturbed run says of them."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stream_ae import AutoencoderDetector
from stream_ae.flow.age import held_against
from stream_ae.records import NO_HEADERS, Float32, Float64, Headers
from tests.end_to_end.world import CHANNELS, START_MS

STREAMS_PER_PARTITION = 3
SAMPLES_OF_A_BLOCK = 5
STEP_MS = 1000
BLOCK_INTERVAL_MS = 100
SPIKES = 0.02


@dataclass(frozen=True, slots=True)
class Known:
    """One raw record: its bytes and Kafka time; of a good one, its stream and which rows of the stream it holds."""

    value: bytes
    kafka_ms: int
    stream: str | None
    rows: slice
    headers: Headers = NO_HEADERS


@dataclass(frozen=True, slots=True)
class Expected:
    """What an undisturbed run says of a record: values (n, C), scores (n,), and what they are held against (n,)."""

    values: Float32
    scores: Float64
    thresholds: Float64

    @property
    def score(self) -> float:
        """The record's: the largest."""
        return float(self.scores.max())

    @property
    def flagged(self) -> bool:
        return bool((self.scores > self.thresholds).any())


class KnownPartition:
    """The records of one partition, made one by one; the same seed makes the same ones, from `start_ms` on.

    Offset i of the raw partition is record i: nobody else writes to it.
    """

    def __init__(self, number: int, seed: int, start_ms: int = START_MS) -> None:
        self.records: list[Known] = []
        self._number = number
        self._start_ms = start_ms
        self._dice = random.Random(f"{seed}/{number}")
        self._noise = np.random.default_rng([seed, number])
        self._streams = {f"p{number}-{name}": _Stream(name) for name in range(STREAMS_PER_PARTITION)}

    def more(self, count: int) -> Sequence[Known]:
        """The next `count` records."""
        made = [self._next(len(self.records) + i) for i in range(count)]
        self.records += made
        return made

    def samples(self, stream: str) -> Float32:
        """Every sample of a stream so far, in its order (N, C), NaN = missing."""
        return np.array(self._streams[stream].samples, np.float32)

    def values_in(self, value: bytes) -> Float32:
        """What a cleaned record holds: (n, C)."""
        given = json.loads(value)["values"]
        return np.array(given if isinstance(given, list) else [[given[name] for name in CHANNELS]], np.float32)

    def _next(self, index: int) -> Known:
        name = self._dice.choice(sorted(self._streams))
        stream, at_ms = self._streams[name], self._start_ms + STEP_MS * index
        kind = self._dice.random()
        if kind < 0.05 and stream.samples:
            return Known(self._broken(name, at_ms), at_ms, None, slice(0))
        count = SAMPLES_OF_A_BLOCK if kind < 0.15 else 1
        rows = slice(len(stream.samples), len(stream.samples) + count)
        stream.samples += [self._sample(stream) for _ in range(count)]
        given = stream.samples[rows]
        values: object = given if count > 1 else dict(zip(CHANNELS, given[0], strict=True))
        record = {"stream": name, "timestamp": at_ms, "interval_ms": BLOCK_INTERVAL_MS, "values": values}
        return Known(json.dumps(record).encode(), at_ms + BLOCK_INTERVAL_MS * (count - 1), name, rows)

    def _sample(self, stream: "_Stream") -> list[float | None]:
        """The next row of related waves, now and then with a spike or a missing value."""
        t = len(stream.samples) + 17 * stream.phase
        scale = np.array([3.0, 0.5, 20.0])
        row = np.sin(t / np.array([5.0, 7.0, 11.0])) * scale + np.array([60.0, 2.0, 100.0])
        row += self._noise.normal(0, 0.05, 3) * scale
        if self._dice.random() < SPIKES:
            row[self._dice.randrange(3)] *= 1.5
        values: list[float | None] = row.astype(np.float32).tolist()
        if self._dice.random() < SPIKES:
            values[self._dice.randrange(3)] = None
        return values

    def _broken(self, name: str, at_ms: int) -> bytes:
        good: dict[str, object] = dict.fromkeys(CHANNELS, 1.0)
        record = {"stream": name, "timestamp": at_ms, "values": good}
        return self._dice.choice(
            [
                b"nonsense %d" % at_ms,
                json.dumps(record | {"values": good | {"humidity": 1.0}}).encode(),
                json.dumps(record | {"values": [1.0, 2.0]}).encode(),
                # Refused only by who knows the stream's last sample: state that a crash must not lose.
                json.dumps(record | {"timestamp": self._start_ms - 60_000}).encode(),
            ]
        )


@dataclass(slots=True)
class _Stream:
    phase: int
    samples: list[list[float | None]] = field(default_factory=list)


class Undisturbed:
    """The offline detector of one version on every stream of a partition."""

    def __init__(self, detector: AutoencoderDetector, partition: KnownPartition) -> None:
        self._detector = detector
        self._partition = partition
        self._of_stream: dict[str, tuple[Float32, Float64, Float64]] = {}

    def expected(self, record: Known) -> Expected:
        """Of a good record."""
        stream = record.stream or ""
        if stream not in self._of_stream:
            x = self._partition.samples(stream)
            denoised = np.asarray(self._detector.denoise(x), np.float32).reshape(len(x), -1)
            model = self._detector.detector_
            thresholds = held_against(model, model.threshold, np.arange(len(x)))
            self._of_stream[stream] = denoised, self._detector.decision_function(x), thresholds
        values, scores, thresholds = self._of_stream[stream]
        rows = record.rows
        return Expected(values[rows], scores[rows], thresholds[rows])

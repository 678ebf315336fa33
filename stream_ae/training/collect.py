"""From records of the raw topic to per-stream arrays, through the same decoding as serving."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from stream_ae.errors import ConfigError
from stream_ae.flow.codecs import codec_for
from stream_ae.records import Bool, Float32, Int64, Partition, RecordBatch
from stream_ae.settings import DecodeSettings, Settings

StreamKey = tuple[Partition, str]
# Of frames fewer are kept than may be: these take 1 GiB.
MOST_VALUES = 2**28


class SampleLayout(NamedTuple):
    """What a sample holds: values of these channels, or a frame (C, H, W) of them."""

    channels: tuple[str, ...]
    frame: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """Training data and where it went on the way.

    frame:     (C, H, W) where samples are frames.
    segments:  per stream (named `stream`, once per unbroken run) arrays (N_i, V) float32 in time order, NaN = missing.
    """

    channels: tuple[str, ...]
    frame: tuple[int, int, int] | None
    streams: tuple[str, ...]
    segments: tuple[Float32, ...]
    records: int
    samples: int
    rejected: int
    flagged: int

    @property
    def kept(self) -> int:
        """Samples in the segments."""
        return sum(len(segment) for segment in self.segments)


def channels_of(values: Iterable[bytes | None], settings: DecodeSettings) -> tuple[str, ...]:
    """The channel names that at least half of the readable records carry, in the order of their first appearance.

    Listed values have no names: `c0`, `c1`, ... by the most frequent length. Raises ConfigError if nothing is readable.
    """
    names: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    for value in values:
        match _values_of(value, settings.values_field):
            case dict() as named:
                names.update(named.keys())
                lengths[0] += 1
            case [[*first], *_]:
                lengths[len(first)] += 1
            case [_, *_] as listed:
                lengths[len(listed)] += 1
    if not lengths:
        raise ConfigError(
            f"no readable record with a field '{settings.values_field}': check decode.values_field and topics.raw"
        )
    length, count = lengths.most_common(1)[0]
    if length == 0:
        return tuple(name for name, seen in names.items() if 2 * seen >= count)
    return tuple(f"c{index}" for index in range(length))


def _values_of(value: bytes | None, field: str) -> object:
    try:
        record = msgspec.json.decode(value) if value else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return record.get(field) if isinstance(record, dict) else None


class Collector:
    """Gathers record batches; keeps the newest `max_samples` at least, and at most twice as many in memory."""

    def __init__(
        self,
        layout: SampleLayout,
        settings: Settings,
        max_samples: int,
        flagged: Mapping[Partition, Int64] | None = None,
    ) -> None:
        """`flagged`: per partition the offsets of records with flagged samples, sorted: left out."""
        self._layout = layout
        self._codec = codec_for(layout.channels, layout.frame, settings)
        self._max_samples = max(min(max_samples, MOST_VALUES // self._codec.width), 1)
        self._flagged = flagged or {}
        self._parts: dict[StreamKey, list[_Part]] = {}
        self._held = 0
        self._records = self._samples = self._rejected = self._left_out = 0

    def add(self, batch: RecordBatch) -> None:
        decoded = self._codec.decode(batch)
        samples = decoded.samples
        self._records += len(batch)
        self._samples += len(samples)
        self._rejected += len(decoded.rejections)
        keep = ~self._is_flagged(batch)[samples.row]
        self._left_out += int((~keep).sum())
        partition = batch.partition[samples.row]
        # One integer a (partition, stream), so that one stable sort cuts the batch into its streams.
        code = partition.astype(np.int64) * (len(samples.streams) + 1) + samples.stream
        order = np.argsort(code, kind="stable")
        bounds = np.flatnonzero(np.diff(code[order], prepend=-1, append=-1))
        for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            rows = order[begin:end]
            key = (Partition(batch.topic, int(partition[rows[0]])), samples.streams[int(samples.stream[rows[0]])])
            part = _Part(samples.timestamp_ms[rows], samples.values[rows], keep[rows])
            self._parts.setdefault(key, []).append(part)
        self._held += len(samples)
        if self._held > 2 * self._max_samples:
            self._forget_oldest()

    def collected(self, min_length: int) -> Collected:
        """What has been gathered, as unbroken runs of at least `min_length` samples."""
        self._forget_oldest()
        streams: list[str] = []
        segments: list[Float32] = []
        for (_, stream), parts in self._parts.items():
            for run in _runs(_joined(parts)):
                if len(run) >= min_length:
                    streams.append(stream)
                    segments.append(run)
        return Collected(
            self._layout.channels,
            self._layout.frame,
            tuple(streams),
            tuple(segments),
            self._records,
            self._samples,
            self._rejected,
            self._left_out,
        )

    def _is_flagged(self, batch: RecordBatch) -> Bool:
        flagged = np.zeros(len(batch), np.bool_)
        for number in np.unique(batch.partition).tolist():
            offsets = self._flagged.get(Partition(batch.topic, number))
            if offsets is not None:
                here = batch.partition == number
                flagged[here] = np.isin(batch.offset[here], offsets)
        return flagged

    def _forget_oldest(self) -> None:
        """Drop from the front of every stream, in proportion, so that about `max_samples` stay."""
        if self._held <= self._max_samples:
            return
        share = self._max_samples / self._held
        for key, parts in self._parts.items():
            whole = _joined(parts)
            self._parts[key] = [whole.newest(int(np.ceil(share * len(whole.keep))))]
        self._held = sum(len(part.keep) for parts in self._parts.values() for part in parts)


@dataclass(frozen=True, slots=True)
class _Part:
    timestamp_ms: Int64
    values: Float32
    keep: Bool

    def newest(self, count: int) -> "_Part":
        begin = max(len(self.keep) - count, 0)
        return _Part(self.timestamp_ms[begin:], self.values[begin:], self.keep[begin:])


def _joined(parts: Sequence[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    return _Part(
        np.concatenate([part.timestamp_ms for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.keep for part in parts]),
    )


def _runs(part: _Part) -> list[Float32]:
    """The stream cut where samples were left out; samples that run backwards in time are dropped, as in serving."""
    newest_before = np.maximum.accumulate(np.concatenate((part.timestamp_ms[:1], part.timestamp_ms[:-1])))
    forward = part.timestamp_ms >= newest_before
    values, keep = part.values[forward], part.keep[forward]
    edges = np.flatnonzero(np.diff(keep.astype(np.int8), prepend=0, append=0))
    return [values[begin:end] for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]

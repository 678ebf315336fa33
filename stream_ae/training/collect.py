"""From records of the raw topic to per-stream arrays, through the same decoding as serving."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from stream_ae.errors import ConfigError
from stream_ae.flow.codecs import codec_for
from stream_ae.records import Bool, Float32, Int32, Int64, Partition, RecordBatch
from stream_ae.settings import DecodeSettings, Settings
from stream_ae.training.keep import StreamKey, keeper
from stream_ae.training.labels import ANOMALY, Selected, Selection
from stream_ae.training.marks import marked_text
from stream_ae.training.rows import Rows, backwards, joined, pieces, repeated, runs

# Of frames fewer are kept than may be: these take 1 GiB.
MOST_VALUES = 2**28


class SampleLayout(NamedTuple):
    """What a sample holds: values of these channels, or a frame (C, H, W) of them."""

    channels: tuple[str, ...]
    frame: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Where what was read went: records, and of them those that cannot be read; the samples of the others.

    flagged, excluded:  samples left out because workers flagged them, because operators called them anomalies.
    taken_in:    samples that were flagged and called normal.
    duplicates:  samples that had come before; `backwards`: that are older than one before them.
    """

    records: int = 0
    rejected: int = 0
    samples: int = 0
    flagged: int = 0
    excluded: int = 0
    taken_in: int = 0
    duplicates: int = 0
    backwards: int = 0


@dataclass(frozen=True, slots=True)
class Labelled:
    """Samples that operators called something, trained on or not, with what came before them.

    pieces:   unbroken runs (N_i, V), NaN = missing.
    rows:     per piece (M_i,) which of its samples have a label; `anomaly`: per piece (M_i,) which.
    records:  per piece (M_i,) the record of each of those, as a number that no other one has.
    """

    pieces: tuple[Float32, ...] = ()
    rows: tuple[Int64, ...] = ()
    anomaly: tuple[Bool, ...] = ()
    records: tuple[Int64, ...] = ()


@dataclass(frozen=True, slots=True)
class Collected:
    """Training data and where it went on the way.

    frame:     (C, H, W) where samples are frames.
    segments:  per stream (named `stream`, once per unbroken run) arrays (N_i, V) float32 in time order, NaN = missing.
    left_out:  the records that were, as `training.marks.offset_ranges` reads them.
    times_ms:  oldest and newest Kafka time; (-1, -1) where records have none.
    """

    channels: tuple[str, ...]
    frame: tuple[int, int, int] | None
    streams: tuple[str, ...]
    segments: tuple[Float32, ...]
    counts: Counts
    labelled: Labelled = field(default_factory=Labelled)
    left_out: str = ""
    times_ms: tuple[int, int] = (-1, -1)

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
        # Python's own reader takes NaN, as the decoder of the workers does, and msgspec does not.
        record = json.loads(value) if value else None
    except (ValueError, RecursionError):
        return None
    return record.get(field) if isinstance(record, dict) else None


class Collector:
    """Gathers record batches; keeps about `max_samples`, and at most twice as many in memory.

    What comes out depends on the records alone, however they were cut into batches and partitions interleaved.
    """

    def __init__(
        self, layout: SampleLayout, settings: Settings, max_samples: int, selection: Selection | None = None
    ) -> None:
        self._layout = layout
        self._codec = codec_for(layout.channels, layout.frame, settings)
        self._most = max(min(max_samples, MOST_VALUES // self._codec.width), 1)
        self._keeper = keeper(settings, self._most)
        self._selection = selection or Selection()
        self._parts: dict[StreamKey, list[Rows]] = {}
        self._seen: Counter[StreamKey] = Counter()
        self._waiting = 0
        self._counts = Counts()
        self._left_out: list[tuple[Int32, Int64]] = []
        self._times: list[tuple[int, int]] = []

    def add(self, batch: RecordBatch) -> None:
        decoded = self._codec.decode(batch)
        samples, selected = decoded.samples, self._selection.of(batch)
        self._note(batch, selected, samples.row, len(decoded.rejections))
        partition, offset = batch.partition[samples.row], batch.offset[samples.row]
        label, keep = selected.label[samples.row], ~selected.left_out[samples.row]
        # One integer a (partition, stream), so that one stable sort cuts the batch into its streams.
        code = partition.astype(np.int64) * (len(samples.streams) + 1) + samples.stream
        order = np.argsort(code, kind="stable")
        bounds = np.flatnonzero(np.diff(code[order], prepend=-1, append=-1))
        for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            rows = order[begin:end]
            key = (Partition(batch.topic, int(partition[rows[0]])), samples.streams[int(samples.stream[rows[0]])])
            block = ((self._seen[key] + np.arange(len(rows))) // self._keeper.block).astype(np.int32)
            part = Rows(samples.timestamp_ms[rows], samples.values[rows], offset[rows], label[rows], keep[rows], block)
            self._parts.setdefault(key, []).append(part)
            self._seen[key] += len(rows)
        self._waiting += len(samples)
        if self._waiting > 2 * self._most:
            fewer = self._keeper.meanwhile(self._held(), self._seen)
            self._parts = {key: [rows] for key, rows in fewer.items()}
            self._waiting = sum(map(len, fewer.values()))

    def collected(self, min_length: int) -> Collected:
        """What has been gathered, as unbroken runs of at least `min_length` samples."""
        kept = self._keeper.finally_kept(self._held(), self._seen)
        streams: list[str] = []
        segments: list[Float32] = []
        labelled: list[tuple[int, Rows]] = []
        for (partition, stream), rows in sorted(self._without_repeats(kept).items()):
            for piece in pieces(rows):
                long_enough = [run for run in runs(piece) if len(run) >= min_length]
                streams += [stream] * len(long_enough)
                segments += long_enough
                if piece.label.any():
                    labelled.append((partition.number, piece))
        return Collected(
            self._layout.channels,
            self._layout.frame,
            tuple(streams),
            tuple(segments),
            self._counts,
            _labelled(labelled),
            marked_text(*_columns(self._left_out)),
            (min(first for first, _ in self._times), max(last for _, last in self._times)) if self._times else (-1, -1),
        )

    def _held(self) -> dict[StreamKey, Rows]:
        return {key: joined(parts) for key, parts in self._parts.items()}

    def _without_repeats(self, kept: dict[StreamKey, Rows]) -> dict[StreamKey, Rows]:
        """Without what had come before, and what serving refuses because it runs backwards; both are counted."""
        by_stream: dict[str, list[StreamKey]] = {}
        for key in sorted(kept):
            by_stream.setdefault(key[1], []).append(key)
        twice = older = 0
        found: dict[StreamKey, Rows] = {}
        for keys in by_stream.values():
            for key, again in zip(keys, repeated([kept[key] for key in keys]), strict=True):
                once = kept[key].taken(~again)
                back = backwards(once)
                twice, older = twice + int(again.sum()), older + int(back.sum())
                found[key] = once.taken(~back) if back.any() else once
        self._counts = replace(self._counts, duplicates=twice, backwards=older)
        return found

    def _note(self, batch: RecordBatch, selected: Selected, row: Int32, rejected: int) -> None:
        """Count what a batch brought; `row`: the record of each of its samples."""
        was = self._counts
        self._counts = replace(
            was,
            records=was.records + len(batch),
            rejected=was.rejected + rejected,
            samples=was.samples + len(row),
            flagged=was.flagged + int(selected.flagged[row].sum()),
            excluded=was.excluded + int(selected.excluded[row].sum()),
            taken_in=was.taken_in + int(selected.taken_in[row].sum()),
        )
        out = np.flatnonzero(selected.left_out)
        if len(out):
            self._left_out.append((batch.partition[out], batch.offset[out]))
        times = batch.timestamp_ms[batch.timestamp_ms >= 0]
        if len(times):
            self._times.append((int(times.min()), int(times.max())))


def _columns(left_out: list[tuple[Int32, Int64]]) -> tuple[Int64, Int64, Bool]:
    """Partition and offset of records that are left out, and that all of them are."""
    partition = np.concatenate([np.empty(0, np.int64), *(one for one, _ in left_out)])
    offset = np.concatenate([np.empty(0, np.int64), *(one for _, one in left_out)])
    return partition, offset, np.ones(len(offset), np.bool_)


def _labelled(found: list[tuple[int, Rows]]) -> Labelled:
    """By partition number and piece."""
    rows = [np.flatnonzero(piece.label) for _, piece in found]
    return Labelled(
        tuple(piece.values for _, piece in found),
        tuple(rows),
        tuple(piece.label[some] == ANOMALY for (_, piece), some in zip(found, rows, strict=True)),
        # A million records a second reach 2^44 after half a year; no topic has 2^19 partitions.
        tuple((number << 44) + piece.offset[some] for (number, piece), some in zip(found, rows, strict=True)),
    )

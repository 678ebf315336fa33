"""Records become samples: JSON in columns, and one bad record costs itself alone.

The usual record, one flat sample, is read by a struct generated for the channels (`usual`); whatever that refuses is
read by `one_record`, which knows all shapes and says what is wrong. Each record is read by itself: joining a batch
into one JSON text saves some 4 % (msgspec 0.22) and would let one broken record swallow its neighbour.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stream_ae.errors import ConfigError, RecordError
from stream_ae.flow.columns import Decoded, Layout, reject
from stream_ae.flow.objects import REFUSALS, ObjectReader
from stream_ae.flow.one_record import Fields, OneRecord, read_record
from stream_ae.flow.refused import Refused, check_ahead, too_many_missing
from stream_ae.flow.spans import ValueLocator
from stream_ae.flow.stream_ids import StreamId, stream_codes, stream_id
from stream_ae.flow.timestamps import shown, timestamps_ms
from stream_ae.flow.usual import (
    UsualRecord,
    is_plain_name,
    nan_as_null,
    usual_matrix,
    usual_reader,
    usual_shapes,
)
from stream_ae.records import Float32, Float64, Int64, Reason, RecordBatch, SampleBatch
from stream_ae.settings import DecodeSettings


@dataclass(slots=True)
class _Sorted:
    """Rows of a batch by how they are read."""

    usual: list[int] = field(default_factory=list)
    usual_records: list[UsualRecord] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    tombstones: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Samples:
    """Samples before they know their stream's code: row (N,), one id for each, timestamp_ms (N,), values (N, C)."""

    row: Int64
    ids: list[StreamId]
    timestamp_ms: Int64
    values: Float64


class Decoder:
    """Reads records with values of the given channels, in their order."""

    def __init__(self, channels: Sequence[str], settings: DecodeSettings) -> None:
        _check(channels, settings)
        self._settings = settings
        self._channels = tuple(channels)
        columns = {name: column for column, name in enumerate(channels)}
        self._fields = Fields(settings.timestamp_field, settings.values_field, columns)
        self._read = usual_reader(channels, settings)
        self._stream_mark = b'"%b"' % settings.stream_field.encode()
        self._objects = ObjectReader(settings.values_field)
        self._locator = ValueLocator(settings.values_field, channels)

    def decode(self, batch: RecordBatch) -> Decoded:
        """Samples of all records that can be used, and the reason for each that cannot."""
        rows = self._sorted(batch.values)
        layout = _empty_layout(len(batch))
        refused = Refused(batch)
        samples = self._usual(batch, rows, layout, refused)
        if rows.others:
            samples = _in_row_order([samples, *self._others(batch, rows.others, layout, refused)])
        codes, streams, nameless = stream_codes(samples.ids)
        for index, error in nameless.items():
            refused.add(int(samples.row[index]), error)
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is refused below
            values = samples.values.astype(np.float32)
        row = samples.row.astype(np.int32)
        self._check_samples(batch, samples, values, refused)
        columns = SampleBatch(row, codes, streams, samples.timestamp_ms, values)
        decoded = Decoded(columns, [], np.array(rows.tombstones, np.int32), layout)
        return reject(decoded, refused.rejections())

    def _sorted(self, values: Sequence[bytes | None]) -> _Sorted:
        rows = _Sorted()
        read, usual, records = self._read, rows.usual, rows.usual_records
        all_utf8 = _is_utf8(b"\n".join([value for value in values if value is not None]))
        for row, value in enumerate(values):
            if value is None:
                rows.tombstones.append(row)
                continue
            try:
                record = read(value)
            except REFUSALS:
                record = self._read_nan(value)
            # msgspec passes over fields that it was not asked for without decoding their text.
            if record is not None and (all_utf8 or _is_utf8(value)):
                usual.append(row)
                records.append(record)
            else:
                rows.others.append(row)
        return rows

    def _read_nan(self, value: bytes) -> UsualRecord | None:
        """The record, if NaN literals are all that is unusual about it."""
        if b"NaN" not in value:
            return None
        try:
            record = self._read(nan_as_null(value))
        except REFUSALS:
            return None
        # Without a stream, the NaN may have stood there: that is no missing value, and not for the key to make good.
        return None if record.stream is None and self._stream_mark in value else record

    def _usual(self, batch: RecordBatch, rows: _Sorted, layout: Layout, refused: Refused) -> _Samples:
        records = rows.usual_records
        row = np.array(rows.usual, np.int64)
        values = [record.values for record in records]
        times, unreadable = timestamps_ms([record.timestamp for record in records])
        for index, error in unreadable.items():
            refused.add(rows.usual[index], error)
        source, keys = self._settings.stream_from, batch.keys
        ids = [stream_id(record.stream, keys[at], source) for record, at in zip(records, rows.usual, strict=True)]
        shape = usual_shapes(values)
        layout.shape[row] = shape
        self._locate([batch.values[at] or b"" for at in rows.usual], row, layout, refused)
        return _Samples(row, ids, times, usual_matrix(values, len(self._channels)))

    def _locate(self, texts: Sequence[bytes], row: Int64, layout: Layout, refused: Refused) -> None:
        """Where the values stand: told for all records at once, or by parsing the odd one again."""
        layout.start[row], layout.end[row] = self._locator.spans(texts, layout.shape[row])
        for index in np.flatnonzero(layout.end[row] == 0).tolist():
            at = int(row[index])
            try:
                layout.start[at], layout.end[at] = self._objects.span(texts[index])
            except RecordError as error:  # json is stricter than msgspec in fields nobody asked for: nesting
                refused.add(at, error)

    def _others(self, batch: RecordBatch, rows: list[int], layout: Layout, refused: Refused) -> list[_Samples]:
        """Blocks, records with NaN literals and such; the broken ones go into `refused`."""
        parts = []
        for row in rows:
            try:
                record = read_record(batch.values[row] or b"", self._fields, self._objects)
                given = stream_id(self._stream_field(record), batch.keys[row], self._settings.stream_from)
            except RecordError as error:
                refused.add(row, error)
                continue
            layout.shape[row] = record.shape
            layout.start[row], layout.end[row] = record.span
            count = len(record.values)
            parts.append(_Samples(np.full(count, row), [given] * count, record.timestamp_ms, record.values))
        return parts

    def _stream_field(self, record: OneRecord) -> str | None:
        """What the field says; nobody's business where the key names the stream."""
        if self._settings.stream_from == "key":
            return None
        name = self._settings.stream_field
        given = record.fields.get(name)
        if given is None or isinstance(given, str):
            return given
        what = f"{type(given).__name__} {shown(given)}"
        raise RecordError(Reason.WRONG_TYPE, f"field {name!r} is the {what}; text is expected")

    def _check_samples(self, batch: RecordBatch, samples: _Samples, values: Float32, refused: Refused) -> None:
        """Add the records that are well formed and still cannot be used; the first reason found stays."""
        infinite = np.isinf(values)
        for index in np.flatnonzero(infinite.any(axis=1)).tolist():
            name = self._channels[int(infinite[index].argmax())]
            what = f"channel {name!r} is {samples.values[index, infinite[index].argmax()]:g}"
            error = RecordError(Reason.NOT_FINITE, f"{what}; a finite number that fits float32 is expected")
            refused.add(int(samples.row[index]), error)
        if self._settings.max_missing < 1.0:
            self._check_missing(samples, values, refused)
        limit_s = self._settings.max_clock_skew_s
        check_ahead(batch, samples.row, samples.timestamp_ms, limit_s, refused)

    def _check_missing(self, samples: _Samples, values: Float32, refused: Refused) -> None:
        missing = np.bincount(samples.row, np.isnan(values).mean(axis=1))
        count = np.bincount(samples.row)
        share = missing / np.maximum(count, 1)
        for row in np.flatnonzero(share > self._settings.max_missing).tolist():
            refused.add(row, too_many_missing(share[row], self._settings.max_missing))


def _check(channels: Sequence[str], settings: DecodeSettings) -> None:
    if not channels:
        raise ConfigError("the model names no channels, so no record can be read: register a model that names them")
    twice = [name for name, count in Counter(channels).items() if count > 1]
    if twice:
        raise ConfigError(f"channel {twice[0]!r} is named twice by the model: channel names must differ")
    names = [settings.stream_field, settings.timestamp_field, settings.values_field]
    if len(set(names)) < len(names):
        raise ConfigError(f"decode.stream_field, timestamp_field and values_field must differ, not {', '.join(names)}")
    odd = [name for name in names if not is_plain_name(name)]
    if odd:
        raise ConfigError(
            f"field name {odd[0]!r} in decode settings: quotes, backslashes and control characters do not go"
        )


def _empty_layout(count: int) -> Layout:
    return Layout(np.zeros(count, np.uint8), np.zeros(count, np.int32), np.zeros(count, np.int32))


def _in_row_order(parts: Sequence[_Samples]) -> _Samples:
    row = np.concatenate([part.row for part in parts])
    order = np.argsort(row, kind="stable")
    ids = [given for part in parts for given in part.ids]
    return _Samples(
        row[order],
        [ids[index] for index in order.tolist()],
        np.concatenate([part.timestamp_ms for part in parts])[order],
        np.concatenate([part.values for part in parts])[order],
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True

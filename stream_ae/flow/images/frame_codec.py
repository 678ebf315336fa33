"""Records of cameras: each is one frame, and leaves as one again.

The stream and the time stand in record headers, which are named as the fields of other records are; without them the
key and Kafka's time tell.
"""

import base64
import math
from collections.abc import Mapping, Sequence

import numpy as np

from stream_ae.errors import RecordError
from stream_ae.flow.codec import FlaggedSamples
from stream_ae.flow.columns import Decoded, Layout, Objects, Shape, reject
from stream_ae.flow.headers import header_text
from stream_ae.flow.images.error_map import boxes, encode_map
from stream_ae.flow.images.frame import Frame, FrameLimits
from stream_ae.flow.images.workers import FrameWorkers
from stream_ae.flow.refused import Refused, check_ahead, too_many_missing
from stream_ae.flow.stream_ids import stream_codes, stream_id
from stream_ae.flow.timestamps import timestamp_ms
from stream_ae.records import Float32, Headers, Int32, Int64, Reason, RecordBatch, SampleBatch
from stream_ae.settings import DecodeSettings, ImageSettings

# A region is what has at least this share of the frame's largest error, and this many times its mean.
REGION_OF_PEAK = 0.5
REGION_OF_MEAN = 2.0


class FrameCodec:
    """Satisfies `flow.codec.Codec` for frames of one size: a sample is a frame, its values the pixels in the order
    (C, H, W). Close it, for it may have threads."""

    def __init__(
        self, frame: tuple[int, int, int], channels: Sequence[str], decode: DecodeSettings, images: ImageSettings
    ) -> None:
        """Raises ConfigError where the extra `images` is not installed."""
        self._frame = frame
        self._channels = tuple(channels)
        self._decode = decode
        self._images = images
        self._workers = FrameWorkers(FrameLimits(max_pixels=images.max_pixels), images.threads)

    @property
    def width(self) -> int:
        return math.prod(self._frame)

    def close(self) -> None:
        """End the threads."""
        self._workers.close()

    def decode(self, batch: RecordBatch) -> Decoded:
        tombstones = [row for row, value in enumerate(batch.values) if value is None]
        given = [row for row, value in enumerate(batch.values) if value is not None]
        refused = Refused(batch)
        found = self._workers.decode([batch.values[row] or b"" for row in given], [batch.headers[row] for row in given])
        frames: dict[int, Frame] = {}
        for row, frame in zip(given, found, strict=True):
            try:
                frames[row] = self._usable(frame)
            except RecordError as error:
                refused.add(row, error)
        samples = self._samples(batch, frames, refused)
        decoded = Decoded(samples, [], np.array(tombstones, np.int32), _layout(len(batch), frames))
        return reject(decoded, refused.rejections())

    def cleaned(
        self, records: RecordBatch, decoded: Decoded, rows: Int32, first: Int64, x_hat: Float32
    ) -> list[bytes | None]:
        forms = decoded.layout.forms
        assert forms is not None
        frames = x_hat[first].reshape(len(rows), *self._frame)
        return list(self._workers.encode(frames, forms[rows].tolist(), self._images.lossy))

    def where(self, flagged: FlaggedSamples, index: int) -> Mapping[str, object]:
        """The worst regions, how far each colour is off on average, and a small picture of the errors.

        A region's `error` is in multiples of the frame's mean one.
        """
        C, H, W = self._frame
        share = flagged.share[index].reshape(C, H, W)
        errors: Float32 = share.sum(0) * np.float32(H * W)
        said: dict[str, object] = {"channels": self._colours(flagged, index), "regions": self._regions(errors)}
        if self._images.error_map:
            said["error_map"] = "data:image/png;base64," + base64.b64encode(encode_map(errors)).decode()
        return said

    def _usable(self, frame: Frame | RecordError) -> Frame:
        if isinstance(frame, RecordError):
            raise frame
        if frame.format.shape != self._frame:
            raise RecordError(Reason.WRONG_FRAME, f"the frame is {_size(frame.format.shape)}; {_size(self._frame)} is "
                              "what the model takes: give other cameras a pipeline of their own")  # fmt: skip
        if np.isinf(frame.values).any():
            raise RecordError(Reason.NOT_FINITE, "the frame holds infinite values; finite numbers are expected")
        missing = float(np.isnan(frame.values).mean())
        if missing > self._decode.max_missing:
            raise too_many_missing(missing, self._decode.max_missing)
        return frame

    def _samples(self, batch: RecordBatch, frames: dict[int, Frame], refused: Refused) -> SampleBatch:
        rows = np.array(sorted(frames), np.int64)
        times = np.zeros(len(rows), np.int64)
        values = np.empty((len(rows), self.width), np.float32)
        for place, row in enumerate(rows.tolist()):
            values[place] = frames[row].values.ravel()
            try:
                times[place] = self._time(batch.headers[row], int(batch.timestamp_ms[row]))
            except RecordError as error:
                refused.add(row, error)
        source = self._decode.stream_from
        ids = [
            stream_id(header_text(batch.headers[row], self._decode.stream_field), batch.keys[row], source)
            for row in rows.tolist()
        ]
        codes, streams, nameless = stream_codes(ids)
        for place, why in nameless.items():
            refused.add(int(rows[place]), why)
        check_ahead(batch, rows, times, self._decode.max_clock_skew_s, refused)
        return SampleBatch(rows.astype(np.int32), codes, streams, times, values)

    def _time(self, headers: Headers, kafka_ms: int) -> int:
        """Of the header, else Kafka's."""
        name = self._decode.timestamp_field
        text = header_text(headers, name)
        if text is None:
            if kafka_ms < 0:
                raise RecordError(
                    Reason.NO_TIMESTAMP, f"there is no header {name!r}, and the record has no Kafka time either"
                )
            return kafka_ms
        return timestamp_ms(_number(text))

    def _colours(self, flagged: FlaggedSamples, index: int) -> list[dict[str, object]]:
        shape = (self._frame[0], -1)
        observed, expected, share = (
            column[index].reshape(shape) for column in (flagged.observed, flagged.expected, flagged.share)
        )
        seen = ~np.isnan(observed)
        mean = np.where(seen, observed, 0.0).sum(1) / np.maximum(seen.sum(1), 1)
        order = np.argsort(-share.sum(1), kind="stable").tolist()
        return [
            {
                "name": self._channels[colour],
                "observed": float(mean[colour]) if seen[colour].any() else None,
                "expected": float(expected[colour].mean()),
                "share": float(share[colour].sum()),
            }
            for colour in order
        ]

    def _regions(self, errors: Float32) -> list[dict[str, object]]:
        level = max(REGION_OF_PEAK * float(errors.max()), REGION_OF_MEAN)
        return [
            {"x": box.x, "y": box.y, "width": box.width, "height": box.height, "error": float(f"{box.peak:.4g}")}
            for box in boxes(errors, level, self._images.regions)
        ]


def _layout(count: int, frames: Mapping[int, Frame]) -> Layout:
    forms: Objects = np.full(count, None, np.object_)
    shape, nowhere = np.zeros(count, np.uint8), np.zeros(count, np.int32)
    for row, frame in frames.items():
        forms[row] = frame.format
        shape[row] = Shape.FRAME
    return Layout(shape, nowhere, nowhere, forms)


def _size(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{width} x {height} pixels with {channels} channel{'s' if channels > 1 else ''}"


def _number(text: str) -> str | float:
    """An epoch number as such, for headers hold text alone."""
    try:
        return float(text)
    except ValueError:
        return text

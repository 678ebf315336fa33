"""A stream of frames goes through the flow as a stream of readings does."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_ae.errors import ConfigError, ModelError
from stream_ae.flow.headers import FLAG, MODEL, REASON, SCORE, SOURCE, header_text
from stream_ae.flow.images.codec import decode_frame, encode_frame
from stream_ae.flow.images.frame import FrameFormat, FrameKind, FrameLimits
from stream_ae.flow.pipeline import Outputs, Pipeline
from stream_ae.records import Float32, Headers, OutgoingBatch, Partition, Position, RecordBatch
from stream_ae.settings import BatchSettings, DecideSettings, DecodeSettings, ImageSettings, Settings
from tests.flow.images.frame_model import SmoothModel

PNG = FrameFormat(FrameKind.PNG, "uint8", 1, 6, 8)
WIDER = FrameFormat(FrameKind.PNG, "uint8", 1, 6, 9)
P0 = Partition("raw", 0)
START_MS = 1_700_000_000_000
IMAGES = DecodeSettings(records="images")


@dataclass(frozen=True)
class Shot:
    """One raw record."""

    value: bytes | None
    key: bytes | None = b"cam"
    headers: Headers = ()
    kafka_ms: int = -2


def flat(level: float, spot: float = 0.0) -> bytes:
    """A frame of one level, with a spot of 2 x 3 pixels that is so much brighter."""
    values = np.full((1, 6, 8), level, np.float32)
    values[0, 1:3, 4:7] += spot
    return encode_frame(values, PNG)


def batch(shots: Sequence[Shot], first: int = 0) -> RecordBatch:
    offsets = np.arange(first, first + len(shots))
    times = [START_MS + int(o) if s.kafka_ms == -2 else s.kafka_ms for o, s in zip(offsets, shots, strict=True)]
    return RecordBatch(
        "raw", np.zeros(len(shots), np.int32), offsets, np.array(times, np.int64), [s.key for s in shots],
        [s.value for s in shots], [s.headers for s in shots],
    )  # fmt: skip


class Camera:
    """Drives one pipeline over frames, records going in one batch after another."""

    def __init__(
        self, settings: Settings | None = None, model: SmoothModel | None = None, position: Position | None = None
    ) -> None:
        self.settings = settings or Settings(decode=IMAGES)
        self.pipeline = Pipeline(self.settings, "stream-ae/test")
        self.pipeline.use(model or SmoothModel())
        self.starts = self.pipeline.assign({P0: position})

    def see(self, records: RecordBatch) -> list[Outputs]:
        self.pipeline.feed(records, 0.0)
        found = []
        while (work := self.pipeline.take(0.0, device_idle=True)) is not None:
            found.append(self.pipeline.complete(work, work.model.infer(work.windows) if len(work.windows) else None))
        return found

    def see_one(self, *shots: Shot) -> Outputs:
        (outputs,) = self.see(batch(shots))
        return outputs


def pixels(value: bytes | None) -> Float32:
    return decode_frame(value or b"", (), FrameLimits()).values


def text(batch: OutgoingBatch, name: str) -> list[str | None]:
    return [header_text(headers, name) for headers in batch.headers]


def test_a_frame_leaves_cleaned_with_its_key_its_headers_and_what_the_model_says() -> None:
    out = Camera().see_one(Shot(flat(100.0, 24.0), headers=(("line", b"7"),))).cleaned
    np.testing.assert_array_equal(pixels(out.values[0]), np.full((1, 6, 8), 103.0))  # the mean, rounded
    assert out.keys == [b"cam"]
    assert dict(out.headers[0])["line"] == b"7"
    assert (text(out, SCORE), text(out, FLAG), text(out, MODEL)) == (["21"], ["0"], ["smooth/1"])
    assert text(out, SOURCE) == ["raw/0/0"]


def test_a_fault_in_a_frame_is_flagged_with_where_it_is() -> None:
    (event,) = [orjson.loads(v or b"") for v in Camera().see_one(Shot(flat(100.0, 120.0))).flagged.values]
    assert (event["stream"], event["state"], event["source"]["offset"]) == ("cam", "open", 0)
    (region,) = event["regions"]
    assert (region["x"], region["y"], region["width"], region["height"]) == (4, 1, 3, 2)
    assert region["error"] == pytest.approx(4.0, rel=0.01)  # six pixels of 48 hold half of all error
    assert event["channels"] == [{"name": "grey", "observed": 115.0, "expected": 115.0, "share": 1.0}]
    picture = pixels(base64.b64decode(event["error_map"].removeprefix("data:image/png;base64,")))
    assert picture[0, 1:3, 4:7].min() == 255.0
    assert picture[0, 0].max() < 100.0


def test_regions_and_the_map_are_left_out_if_they_are_not_wanted() -> None:
    settings = Settings(decode=IMAGES, images=ImageSettings(regions=0, error_map=False))
    (event,) = Camera(settings).see_one(Shot(flat(100.0, 120.0))).flagged.values
    assert orjson.loads(event or b"")["regions"] == []
    assert "error_map" not in orjson.loads(event or b"")


@pytest.mark.parametrize("threads", [1, 3])
def test_a_frame_leaves_in_the_form_it_came_in(threads: int) -> None:
    forms = [
        PNG,
        FrameFormat(FrameKind.PNG, "uint16", 1, 6, 8),
        FrameFormat(FrameKind.NPY, "float32", 1, 6, 8, axes=2),
        FrameFormat(FrameKind.NPY, "uint16", 1, 6, 8),
    ]
    values: Float32 = np.full((1, 6, 8), 200.0, np.float32)
    one = Camera(Settings(decode=IMAGES, images=ImageSettings(threads=threads)))
    out = one.see_one(*[Shot(encode_frame(values, form)) for form in forms]).cleaned
    found = [decode_frame(value or b"", (), FrameLimits()).format for value in out.values]
    one.pipeline.close()
    assert found == forms


def test_a_raw_frame_is_told_by_its_headers() -> None:
    headers: Headers = (("shape", b"6,8,1"), ("dtype", b"uint8"))
    out = Camera().see_one(Shot(bytes([50] * 48), headers=headers)).cleaned
    assert out.values == [bytes([50] * 48)]


def test_missing_pixels_are_filled_in() -> None:
    values = np.full((1, 6, 8), 7.5, np.float32)
    values[0, 2, 2] = np.nan
    form = FrameFormat(FrameKind.NPY, "float32", 1, 6, 8)
    out = Camera().see_one(Shot(encode_frame(values, form))).cleaned
    np.testing.assert_array_equal(pixels(out.values[0]), np.full((1, 6, 8), 7.5))


def test_the_stream_and_the_time_stand_in_headers_and_else_in_the_key_and_kafka() -> None:
    shots = [
        Shot(flat(0, 200)),
        Shot(flat(0, 200), headers=(("stream", b"roof"), ("timestamp", b"2023-11-14T22:13:20Z"))),
        Shot(flat(0, 200), headers=(("stream", b"yard"), ("timestamp", b"1700000000.5"))),
    ]
    events = [orjson.loads(value or b"") for value in Camera().see_one(*shots).flagged.values]
    assert [(event["stream"], event["timestamp_ms"]) for event in events] == [
        ("cam", START_MS), ("roof", START_MS), ("yard", START_MS + 500),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shot", "reason"),
    [
        (Shot(b"no image at all"), "not_an_image"),
        (Shot(flat(1.0)[:40]), "truncated_image"),
        (Shot(encode_frame(np.zeros((1, 6, 9), np.float32), WIDER)), "wrong_frame"),
        (Shot(encode_frame(np.full((1, 6, 8), np.inf, np.float32), FrameFormat(FrameKind.NPY, "float32", 1, 6, 8))),
         "not_finite"),
        (Shot(b""), "empty"),
        (Shot(flat(1.0), key=None), "no_stream"),
        (Shot(flat(1.0), kafka_ms=-1), "no_timestamp"),
        (Shot(flat(1.0), headers=(("timestamp", b"yesterday"),)), "bad_timestamp"),
        (Shot(flat(1.0), headers=(("timestamp", b"2033-01-01"),)), "timestamp_ahead"),
    ],
)  # fmt: skip
def test_what_is_no_frame_of_the_stream_is_a_dead_letter_and_costs_itself_alone(shot: Shot, reason: str) -> None:
    outputs = Camera().see_one(Shot(flat(1.0), kafka_ms=START_MS - 5), shot)
    assert text(outputs.dead_letters, REASON) == [reason]
    assert outputs.dead_letters.values == [shot.value]
    assert text(outputs.cleaned, SOURCE) == ["raw/0/0"]


def test_a_tombstone_is_passed_on() -> None:
    out = Camera().see_one(Shot(None), Shot(flat(3.0))).cleaned
    assert [value is None for value in out.values] == [True, False]


def test_large_frames_make_small_batches() -> None:
    one = Camera(Settings(decode=IMAGES, batch=BatchSettings(max_values=100)))
    assert one.pipeline.at_once == 2
    outputs = one.see(batch([Shot(flat(5.0))] * 5))
    assert [len(out.cleaned) for out in outputs] == [2, 2, 1]


def test_a_pixel_beyond_the_limits_of_its_channel_is_flagged_whatever_the_score() -> None:
    settings = Settings(decode=IMAGES, decide=DecideSettings(limits={"grey": (None, 120.0)}))
    (event,) = Camera(settings, SmoothModel(threshold=1e9)).see_one(Shot(flat(110.0, 20.0))).flagged.values
    (region,) = orjson.loads(event or b"")["regions"]
    assert (region["x"], region["y"], region["width"], region["height"]) == (4, 1, 3, 2)


@examples(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.0, 200.0, None]), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(0, 12),
)
def test_what_comes_out_is_the_same_whatever_the_batches_and_the_crashes(
    spots: list[float | None], cut: int, crash_at: int
) -> None:
    shots = [Shot(b"broken" if spot is None else flat(20.0, spot)) for spot in spots]
    settings = Settings(decode=IMAGES, batch=BatchSettings(max_records=cut))
    whole = _left(Camera().see(batch(shots)))
    first = Camera(settings)
    before = first.see(batch(shots[:crash_at]))
    position = first.pipeline.positions().get(P0)
    second = Camera(settings, position=position)
    resume = second.starts.get(P0, position.offset if position is not None else 0)
    after = second.see(batch(shots[resume:], resume))
    assert _left([*before, *after]) == whole


def _left(outputs: Sequence[Outputs]) -> list[tuple[str, list[bytes | None]]]:
    return [
        (kind, [value for out in outputs for value in getattr(out, kind).values])
        for kind in ("cleaned", "flagged", "dead_letters")
    ]


def test_a_version_for_other_frames_or_for_sensors_is_refused() -> None:
    one = Camera()
    with pytest.raises(ModelError, match="is for frames of 9 x 6 pixels, this stream has frames of 8 x 6"):
        one.pipeline.use(SmoothModel(frame=(1, 6, 9), version="2"))
    with pytest.raises(ModelError, match="smooth/1 is for frames, but decode.records is json"):
        Pipeline(Settings(), "stream-ae/test").use(SmoothModel())


def test_limits_of_a_channel_that_there_is_not_are_refused() -> None:
    settings = Settings(decode=IMAGES, decide=DecideSettings(limits={"red": (None, 120.0)}))
    with pytest.raises(ConfigError, match="'red'"):
        Camera(settings)


def test_the_swap_to_another_version_happens_between_two_frames() -> None:
    one = Camera(Settings(decode=IMAGES, batch=BatchSettings(max_records=1)))
    one.pipeline.feed(batch([Shot(flat(9.0))]), 0.0)
    old = one.pipeline.take(0.0, device_idle=True)
    assert old is not None
    one.pipeline.use(SmoothModel(version="2", shift=1.0))
    outputs = [one.pipeline.complete(old, old.model.infer(old.windows)), *one.see(batch([Shot(flat(9.0))], 1))]
    assert [text(out.cleaned, MODEL) for out in outputs] == [["smooth/1"], ["smooth/2"]]
    means: list[NDArray[np.float32]] = [pixels(out.cleaned.values[0]) for out in outputs]
    assert [float(mean.mean()) for mean in means] == [9.0, 10.0]

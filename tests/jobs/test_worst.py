"""The worst windows of an hour: which, with what around them, and as a picture."""

import io
import json

import numpy as np
import pytest
from matplotlib.image import imread

from jobs.worst import MOST_AROUND, MOST_SAMPLES, WorstWindows
from stream_ae.errors import TransientError
from stream_ae.flow.codec import Codec
from stream_ae.flow.codecs import codec_for
from stream_ae.flow.headers import FLAG, SCORE, SOURCE
from stream_ae.flow.worst import Stretch, joined_batches, stretch_of, worst_of
from stream_ae.models.about import About
from stream_ae.ports import OffsetRange
from stream_ae.records import Headers, ModelIdentity, Partition
from stream_ae.settings import DecodeSettings, Settings
from stream_ae.testing import InMemoryBroker, InMemoryReader, ManualClock
from tests.flow.images.files import raw_headers

MODEL = ModelIdentity("pump", "3", "3" * 64)
NOW_MS = 1_700_000_000_000
READINGS, FRAMES = About(("a", "b")), About(("grey",), (1, 6, 8))


class Topics:
    """Raw, cleaned and flagged of one partition, filled record by record."""

    def __init__(self, about: About, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms
        self.broker = InMemoryBroker(ManualClock(now_ms))
        self.about = about
        records = "images" if about.frame else "json"
        self.settings = Settings(decode=DecodeSettings.model_validate({"records": records}))
        for topic in ("raw", "cleaned", "flagged"):
            self.broker.create_topic(topic, 1)
        self.sent = 0

    def answer(self, raw: bytes, cleaned: bytes, score: float, headers: Headers = ()) -> int:
        """A raw record, a second later than the one before, and its cleaned one; its offset."""
        offset, at_ms = self.sent, self.now_ms + 1000 * self.sent
        self.sent += 1
        self.broker.append("raw", raw, partition=0, timestamp_ms=at_ms, headers=headers)
        ours = ((SCORE, b"%.6g" % score), (FLAG, b"%d" % (score > 2)), (SOURCE, b"raw/0/%d" % offset))
        self.broker.append("cleaned", cleaned, partition=0, timestamp_ms=at_ms, headers=(*headers, *ours))
        return offset

    def reading(self, value: float, score: float = 0.5, stream: str = "s") -> int:
        def record(a: float) -> bytes:
            when = self.now_ms + 1000 * self.sent
            return json.dumps({"stream": stream, "timestamp": when, "values": {"a": a, "b": 1.0}}).encode()

        offset = self.answer(record(value), record(0.0), score)
        if score > 2:
            self.flag(offset, score, stream)
        return offset

    def flag(self, offset: int, score: float | None, stream: str = "s", **other: object) -> None:
        event = {
            "schema": "stream-ae/flagged/1",
            "stream": stream,
            "timestamp_ms": self.now_ms + 1000 * offset,
            "score": score,
            "threshold": 2.0,
            "p_value": 0.001,
            "model": {"name": "pump", "version": "3"},
            "source": {"topic": "raw", "partition": 0, "offset": offset},
            "channels": [{"name": "a", "observed": 1.0, "expected": 0.0, "share": 0.9}],
        }
        value = json.dumps(event | other).encode()
        self.broker.append("flagged", value, partition=0, timestamp_ms=self.now_ms + 1000 * offset)

    def worst(self, count: int = 4, apart: int = 50) -> list[tuple[int, float]]:
        reader = InMemoryReader(self.broker)
        found = worst_of(reader.read(reader.ranges("flagged")), ("pump", "3"), count, apart)
        return [(one.source.offset, one.badness) for one in found]

    def picture(self, start_ms: int = NOW_MS, end_ms: int = NOW_MS + 10**9) -> bytes | None:
        reader = InMemoryReader(self.broker)
        return WorstWindows(self.settings, lambda: reader).picture(MODEL, self.about, start_ms, end_ms)

    def stretch(self, most: int = MOST_SAMPLES) -> Stretch:
        """Of the worst."""
        reader = InMemoryReader(self.broker)
        (one,) = worst_of(reader.read(reader.ranges("flagged")), ("pump", "3"), 1, 1)
        raw, cleaned = (joined_batches(name, list(reader.read(reader.ranges(name)))) for name in ("raw", "cleaned"))
        codec: Codec = codec_for(self.about.channels, self.about.frame, self.settings)
        return stretch_of(one, raw, cleaned, codec, most)


@pytest.fixture
def topics() -> Topics:
    return Topics(READINGS)


def sides(png: bytes | None) -> tuple[int, ...]:
    assert png is not None
    shape: tuple[int, ...] = imread(io.BytesIO(png), format="png").shape
    return shape


def test_of_an_event_the_worst_sample_stands_for_all(topics: Topics) -> None:
    for offset, score in ((10, 5.0), (11, 9.0), (12, 6.0), (300, 4.0), (301, 3.0)):
        topics.flag(offset, score)
    topics.flag(12, 8.0, stream="t")
    assert topics.worst() == [(11, 9.0), (12, 8.0), (300, 4.0)]
    assert topics.worst(count=1) == [(11, 9.0)]


def test_a_score_that_is_not_finite_is_the_worst_and_other_versions_and_strange_records_are_left_out(
    topics: Topics,
) -> None:
    topics.flag(10, 5.0)
    topics.flag(100, None)
    topics.flag(200, 99.0, model={"name": "pump", "version": "2"})
    for strange in (b"", b"\xff", b"[]", b"{}"):
        topics.broker.append("flagged", strange, partition=0, timestamp_ms=NOW_MS)
    assert topics.worst() == [(100, float("inf")), (10, 5.0)]


def test_a_stretch_is_of_one_stream_with_its_cleaned_values_scores_and_flags(topics: Topics) -> None:
    for second in range(10):
        topics.reading(float(second), score=9.0 if second == 5 else 0.5)
        topics.reading(-1.0, stream="other")
    stretch = topics.stretch(most=2)
    assert stretch.raw[:, 0].tolist() == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert stretch.cleaned[:, 0].tolist() == [0.0] * 5
    assert stretch.score.tolist() == [0.5, 0.5, 9.0, 0.5, 0.5]
    assert stretch.flagged.tolist() == [False, False, True, False, False]


def test_a_raw_record_whose_answer_is_gone_is_shown_without(topics: Topics) -> None:
    offset = topics.reading(7.0, score=9.0)
    topics.broker.append("raw", None, partition=0, timestamp_ms=NOW_MS)
    codec = codec_for(("a", "b"), None, topics.settings)
    reader = InMemoryReader(topics.broker)
    (one,) = worst_of(reader.read(reader.ranges("flagged")), ("pump", "3"), 1, 1)
    raw = joined_batches("raw", list(reader.read(reader.ranges("raw"))))
    stretch = stretch_of(one, raw, joined_batches("cleaned", []), codec, 5)
    assert (one.source.offset, stretch.raw[:, 0].tolist()) == (offset, [7.0])
    assert np.isnan(stretch.cleaned).all()
    assert not stretch.flagged.any()


def test_the_worst_windows_are_one_picture_under_each_other(topics: Topics) -> None:
    for second in range(3 * MOST_AROUND):
        topics.reading(np.sin(second), score=9.0 + second if second % MOST_AROUND == 700 else 0.5)
    height, width, _ = sides(topics.picture())
    assert width > 1000
    assert height == pytest.approx(3 * 286, abs=5)


@pytest.mark.parametrize("stream", ["$\\pump$", "cost $x_$"])
def test_a_stream_may_have_a_name_that_looks_like_mathematics(topics: Topics, stream: str) -> None:
    topics.reading(1.0, score=9.0, stream=stream)
    assert sides(topics.picture())


def test_a_frame_stream_may_have_a_name_that_looks_like_mathematics() -> None:
    topics = Topics(FRAMES)
    frame = np.zeros(48, np.float32).tobytes()
    offset = topics.answer(frame, frame, 9.0, (*raw_headers("6,8,1", "float32"), ("stream", b"$\\camera$")))
    topics.flag(offset, 9.0, stream="$\\camera$")
    assert sides(topics.picture())


def test_samples_of_a_clock_that_was_not_set_are_drawn_too(topics: Topics) -> None:
    for when in ("0001-01-01T00:00:00Z", "2023-11-14T22:13:20Z"):
        record = json.dumps({"stream": "s", "timestamp": when, "values": {"a": 1.0, "b": 1.0}}).encode()
        topics.flag(topics.answer(record, record, 9.0), 9.0)
    assert sides(topics.picture())


def test_only_what_was_flagged_since_the_last_picture_is_in_the_next(topics: Topics) -> None:
    for second in range(100):
        topics.reading(1.0, score=9.0 if second == 20 else 0.5)
    assert topics.picture(NOW_MS + 21_000) is None
    assert topics.picture(NOW_MS, NOW_MS + 20_000) is None
    assert topics.picture(NOW_MS, NOW_MS + 21_000) is not None


def test_where_retention_has_deleted_the_records_there_is_no_picture(topics: Topics) -> None:
    for second in range(10):
        topics.reading(1.0, score=9.0 if second == 2 else 0.5)
    topics.broker.delete_records(Partition("raw", 0), 10)
    assert topics.picture() is None


def test_brokers_that_are_away_are_said_to_be(topics: Topics) -> None:
    topics.reading(1.0, score=9.0)
    topics.broker.away = True
    with pytest.raises(TransientError):
        topics.picture()


class Counting(InMemoryReader):
    """Notes how many records it was asked for."""

    asked = 0

    def read(self, ranges, max_records=10_000):  # type: ignore[no-untyped-def]
        self.asked += sum(each.end - each.begin for each in ranges)
        yield from super().read(ranges, max_records)


def test_however_much_lies_in_the_topics_the_reads_are_bounded(topics: Topics) -> None:
    for _ in range(20_000):
        topics.reading(1.0, score=9.0)
    reader = Counting(topics.broker)
    WorstWindows(topics.settings, lambda: reader).picture(MODEL, READINGS, NOW_MS, NOW_MS + 10**9)
    assert reader.asked <= 5000 + 4 * (2 * (2 * MOST_AROUND + 1))
    assert isinstance(reader.ranges("raw")[0], OffsetRange)


def test_frames_are_shown_as_they_came_cleaned_and_where_the_errors_are() -> None:
    topics = Topics(FRAMES)
    shape = (*raw_headers("6,8,1", "float32"), ("stream", b"camera"))
    frame = np.arange(48, dtype=np.float32)
    for _ in range(3):
        offset = topics.answer(frame.tobytes(), (frame + 1).tobytes(), 9.0, shape)
    topics.flag(offset, 9.0, stream="camera")
    height, width, _ = sides(topics.picture())
    assert height == pytest.approx(509, abs=5)
    assert width == pytest.approx(253, abs=5)

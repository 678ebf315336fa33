"""Marks on offsets, and what operators said of them."""

import json

import numpy as np
import pytest

from stream_ae.errors import ConfigError
from stream_ae.ports import OffsetRange
from stream_ae.records import Partition
from stream_ae.settings import Settings, TopicSettings
from stream_ae.testing import InMemoryBroker, InMemoryReader, ManualClock
from stream_ae.training.labels import ANOMALY, NORMAL, read_labels
from stream_ae.training.marks import Marks, Stroke, marked_text, offset_ranges

RAW = Partition("raw", 0)


def test_marks_are_what_painting_one_offset_after_the_other_gives() -> None:
    generator = np.random.default_rng(0)
    by_hand = np.zeros(60, np.int8)
    strokes = []
    for _ in range(40):
        begin = int(generator.integers(0, 50))
        end, mark = begin + int(generator.integers(1, 10)), int(generator.integers(1, 3))
        strokes.append(Stroke(OffsetRange(RAW, begin, end), mark))
        by_hand[begin:end] = mark
    assert Marks.painted(strokes).at(RAW, np.arange(60)).tolist() == by_hand.tolist()


def test_offsets_that_were_written_are_read_again() -> None:
    generator = np.random.default_rng(1)
    partition, offset = generator.integers(0, 3, 200), np.arange(200)
    marked = generator.random(200) < 0.3
    read = offset_ranges("raw", marked_text(partition, offset, marked))
    again = {(one.partition.number, at) for one in read for at in range(one.begin, one.end)}
    assert again == set(zip(partition[marked].tolist(), offset[marked].tolist(), strict=True))


@pytest.mark.parametrize("text", ["0", "0:5", "0:5-5", "0:9-2", "a:1-2", "0:-1-2", "0:1-2;1:1-2"])
def test_offsets_that_cannot_be_read_are_refused_with_the_form(text: str) -> None:
    with pytest.raises(ConfigError, match="partition:first-end"):
        offset_ranges("raw", text)


class _Feedback:
    """A feedback topic of two partitions."""

    def __init__(self) -> None:
        self.broker = InMemoryBroker(ManualClock(0))
        self.broker.create_topic("feedback", partitions=2)
        self.settings = Settings(topics=TopicSettings(feedback="feedback"))

    def say(self, offset: int, label: str, at_ms: int, partition: int = 0, **source: object) -> None:
        about = {"topic": "raw", "partition": 0, "offset": offset, **source}
        value = json.dumps({"source": about, "label": label}).encode()
        self.broker.append("feedback", value, partition=partition, timestamp_ms=at_ms)

    def marks(self, *offsets: int) -> list[int]:
        labels = read_labels(InMemoryReader(self.broker), self.settings)
        return [int(mark) for mark in labels.marks.at(RAW, np.array(offsets))]


def test_the_newest_label_counts_whatever_partition_it_is_in() -> None:
    feedback = _Feedback()
    feedback.say(7, "anomaly", at_ms=2000, partition=0)
    feedback.say(7, "normal", at_ms=1000, partition=1)
    feedback.say(8, "anomaly", at_ms=1000)
    feedback.say(8, "normal", at_ms=1000)
    assert feedback.marks(6, 7, 8) == [0, ANOMALY, NORMAL]


def test_a_label_of_a_span_is_one_of_all_its_records_and_a_later_one_of_a_record_lies_over_it() -> None:
    feedback = _Feedback()
    feedback.say(10, "anomaly", at_ms=1000, end_offset=20)
    feedback.say(12, "normal", at_ms=2000)
    assert feedback.marks(9, 10, 12, 19, 20) == [0, ANOMALY, NORMAL, ANOMALY, 0]


def test_unreadable_feedback_and_that_about_other_topics_is_no_label() -> None:
    feedback = _Feedback()
    feedback.broker.append("feedback", b"anomaly!", partition=0)
    feedback.broker.append("feedback", None, partition=0)
    feedback.say(3, "anomaly", at_ms=5, topic="elsewhere")
    labels = read_labels(InMemoryReader(feedback.broker), feedback.settings)
    assert (labels.given, labels.unreadable) == (0, 2)
    assert labels.why.startswith("feedback/0/0: not a feedback record")
    assert feedback.marks(3) == [0]


def test_without_a_feedback_topic_nobody_has_said_anything() -> None:
    assert read_labels(InMemoryReader(InMemoryBroker(ManualClock(0))), Settings()).given == 0

"""The demo's numbers come from the topics: what is in them, and nothing else, ends up in the report."""

import numpy as np
import orjson

from stream_ae.cli.demo.material import material
from stream_ae.cli.demo.outcome import Outcome, read_outcome
from stream_ae.localdev.report import events_found, false_alarms_per_10k
from stream_ae.localdev.sample_data import INTERVAL_MS, Machine
from stream_ae.records import Headers, OutgoingBatch
from stream_ae.settings import TopicSettings
from stream_ae.testing import InMemoryBroker, InMemoryReader, InMemorySink

TOPICS = TopicSettings()
BEGIN_MS = 1_000 * INTERVAL_MS
LABEL = np.array([False, True, True, False, False])
MACHINE = Machine("a", ("x", "y"), np.zeros((1, 2), np.float32), np.zeros((5, 2), np.float32), LABEL)


class Topics:
    """Raw, cleaned and flagged in memory, written record by record."""

    def __init__(self) -> None:
        self.broker = InMemoryBroker()
        self._sink = InMemorySink(self.broker)
        for name in TOPICS.model_dump().values():
            self.broker.create_topic(name)

    def send(self, topic: str, value: bytes, headers: Headers = ()) -> int:
        """The record's offset."""
        one = np.array([0])
        self._sink.produce(OutgoingBatch(topic, one.astype(np.int32), one, [b"a"], [value], [headers]))
        return len(self.broker.records(topic)) - 1

    def answer(self, row: int, score: float, flag: bool, version: int) -> None:
        """A raw sample of test row `row` and its cleaned record."""
        time_ms = BEGIN_MS + row * INTERVAL_MS
        offset = self.send(TOPICS.raw, sample(time_ms, row, None))
        self.send(
            TOPICS.cleaned,
            sample(time_ms, row + 0.5, 7.0),
            [
                ("stream-ae-score", f"{score:g}".encode()),
                ("stream-ae-flag", b"1" if flag else b"0"),
                ("stream-ae-model", f"demo/{version}".encode()),
                ("stream-ae-source", f"{TOPICS.raw}/0/{offset}".encode()),
            ],
        )

    def alert(self, row: int, state: str, score: float | None) -> None:
        alert = {
            "stream": "a",
            "timestamp_ms": BEGIN_MS + row * INTERVAL_MS,
            "state": state,
            "score": score,
            "threshold": 2.0,
            "channels": [{"name": "y"}, {"name": "x"}],
            "model": {"name": "demo", "version": "1"},
        }
        self.send(TOPICS.flagged, orjson.dumps(alert))

    def outcome(self) -> Outcome:
        return read_outcome(InMemoryReader(self.broker), TOPICS, [MACHINE], BEGIN_MS)


def sample(time_ms: int, x: float, y: float | None) -> bytes:
    return orjson.dumps({"stream": "a", "timestamp": time_ms, "values": {"x": x, "y": y}})


def test_each_answered_sample_is_a_row_with_what_went_in_and_what_came_out() -> None:
    topics = Topics()
    topics.answer(0, 0.5, False, 1)
    topics.answer(2, 3.5, True, 1)
    topics.answer(3, 2.5, True, 2)
    topics.alert(2, "open", 3.5)
    outcome = topics.outcome()
    (one,) = outcome.streams
    assert one.timestamp_ms.tolist() == [BEGIN_MS + row * INTERVAL_MS for row in (0, 2, 3)]
    assert one.raw[:, 0].tolist() == [0, 2, 3]
    assert np.isnan(one.raw[:, 1]).all()
    assert one.cleaned.tolist() == [[0.5, 7], [2.5, 7], [3.5, 7]]
    assert one.score.tolist() == [0.5, 3.5, 2.5]
    assert one.version.tolist() == [1, 1, 2]
    assert one.label.tolist() == [False, True, False]
    np.testing.assert_array_equal(one.threshold, [2.0, 2.0, np.nan])
    assert outcome.flagged == 2
    assert events_found(outcome.streams) == (1, 1)
    assert false_alarms_per_10k(outcome.streams) == 5000


def test_the_training_part_and_broken_records_are_no_rows() -> None:
    topics = Topics()
    topics.answer(-1, 9.0, True, 1)
    topics.send(TOPICS.raw, b"not JSON")
    topics.answer(0, 0.5, False, 1)
    outcome = topics.outcome()
    assert len(outcome.streams[0].score) == 1
    assert outcome.flagged == 1


def test_alerts_are_joined_from_open_to_close() -> None:
    topics = Topics()
    for row in range(5):
        topics.answer(row, 1.0, row in (1, 2, 4), 1)
    topics.alert(-1, "open", 9.0)
    topics.alert(1, "open", 3.0)
    topics.alert(2, "ongoing", 4.0)
    topics.alert(3, "close", 0.5)
    topics.alert(4, "open", None)
    first, second = topics.outcome().events
    assert (first.begin_ms, first.end_ms) == (BEGIN_MS + INTERVAL_MS, BEGIN_MS + 2 * INTERVAL_MS)
    assert (first.peak_score, first.channels, first.labelled) == (4.0, ("y", "x"), True)
    assert second.peak_score == np.inf
    assert not second.labelled


def test_the_material_ends_now_and_the_test_part_follows_the_training_part() -> None:
    replayed = material(["omi-1", "omi-2"], train_rows=100, now_ms=BEGIN_MS * 1000)
    for train, test in zip(replayed.train, replayed.test, strict=True):
        assert train.timestamp_ms is not None
        assert test.timestamp_ms is not None
        assert len(train.timestamp_ms) == 100
        assert test.timestamp_ms[0] - train.timestamp_ms[-1] == INTERVAL_MS
        assert test.timestamp_ms[0] == replayed.begin_ms
        assert test.timestamp_ms[-1] == BEGIN_MS * 1000

"""Broken records on the real broker: each costs itself alone, with everything needed to look into it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from stream_ae.errors import ConfigError, DeliveryError
from stream_ae.kafka.admin import TopicSpec, create_topics, group_lag
from stream_ae.records import Reason
from tests.end_to_end.world import (
    CHANNELS,
    START_MS,
    PipelineOnServers,
    good_records,
    limit_records,
    record,
)

Make = Callable[..., PipelineOnServers]
GOOD = dict.fromkeys(CHANNELS, 1.0)

BROKEN: Mapping[str, tuple[bytes, Reason]] = {
    "not JSON": (b"temperature=5", Reason.NOT_JSON),
    "truncated JSON": (b'{"stream": "s", "timestamp"', Reason.NOT_JSON),
    "JSON of another shape": (b"[1, 2, 3]", Reason.WRONG_SHAPE),
    "no values": (b'{"stream": "s", "timestamp": %d}' % START_MS, Reason.WRONG_SHAPE),
    "a text for a number": (record("s", START_MS, GOOD | {"flow": "fast"}), Reason.WRONG_TYPE),
    "a truth for a number": (record("s", START_MS, GOOD | {"flow": True}), Reason.WRONG_TYPE),
    "an unknown extra channel": (record("s", START_MS, GOOD | {"humidity": 1.0}), Reason.UNKNOWN_CHANNEL),
    "too few listed values": (record("s", START_MS, [1.0, 2.0]), Reason.WRONG_CHANNEL_COUNT),
    "Infinity": (record("s", START_MS, GOOD | {"flow": float("inf")}), Reason.NOT_FINITE),
    "1e308": (record("s", START_MS, GOOD | {"flow": 1e308}), Reason.NOT_FINITE),
    "empty payload": (b"", Reason.EMPTY),
    "not UTF-8": (b'{"stream": "\xff\xfe", "timestamp": 1, "values": [1,2,3]}', Reason.NOT_UTF8),
    "no stream id": (json.dumps({"timestamp": START_MS, "values": GOOD}).encode(), Reason.NO_STREAM),
    "no timestamp": (json.dumps({"stream": "s", "values": GOOD}).encode(), Reason.NO_TIMESTAMP),
    "unparsable timestamp": (
        json.dumps({"stream": "s", "timestamp": "yesterday", "values": GOOD}).encode(),
        Reason.BAD_TIMESTAMP,
    ),
    "a timestamp running backwards": (record("good", START_MS - 60_000, GOOD), Reason.TIMESTAMP_BACKWARDS),
    "a timestamp far ahead": (record("good", START_MS + 3_600_000, GOOD), Reason.TIMESTAMP_AHEAD),
}


def test_each_broken_record_is_a_dead_letter_and_its_neighbours_come_out(
    make_pipeline: Make, model_folders: list[Path], driver: str
) -> None:
    pipeline = make_pipeline("broken", kafka={"driver": driver})
    pipeline.publish(model_folders[0])
    good = good_records("good", len(BROKEN) + 1)
    values: list[bytes | None] = [good[0]]
    for index, (payload, _) in enumerate(BROKEN.values()):
        values += [payload, good[index + 1]]
    pipeline.send(
        values,
        keys=[None if value in (BROKEN["no stream id"][0],) else b"k%d" % i for i, value in enumerate(values)],
        headers=[(("trace", b"t%d" % i),) for i in range(len(values))],
        timestamps_ms=[START_MS + 1000 * (i // 2) for i in range(len(values))],
    )
    pipeline.start_worker()
    pipeline.await_traces(len(values))
    dead, cleaned = pipeline.dead_letters, pipeline.cleaned
    assert len(dead.values) == len(BROKEN)
    assert len(cleaned.values) == len(BROKEN) + 1
    for index, (name, (payload, reason)) in enumerate(BROKEN.items()):
        key, headers = dead.by_value(payload)
        row = 2 * index + 1
        assert headers["stream-ae-reason"].decode() == reason, name
        assert headers["stream-ae-source"].decode() == f"{pipeline.settings.topics.raw}/0/{row}", name
        assert headers["stream-ae-exception"], name
        assert headers["stream-ae-software"].startswith(b"stream-ae/"), name
        assert headers["trace"] == b"t%d" % row, name
        assert key == (None if name == "no stream id" else b"k%d" % row), name


def test_a_batch_wholly_of_broken_records_is_all_dead_letters(make_pipeline: Make, model_folders: list[Path]) -> None:
    pipeline = make_pipeline("all-broken")
    pipeline.publish(model_folders[0])
    broken = [b"nonsense %d" % i for i in range(50)]
    pipeline.send(broken)
    pipeline.start_worker()
    pipeline.await_traces(50)
    # Without a key the partitioner spreads them: the order is the partitions' own.
    assert set(pipeline.dead_letters.values) == set(broken)
    assert len(pipeline.dead_letters.values) == len(broken)
    assert pipeline.cleaned.values == []


def test_more_broken_records_in_a_row_than_allowed_stop_the_worker_with_a_message(
    make_pipeline: Make, model_folders: list[Path]
) -> None:
    pipeline = make_pipeline("schema-change", dead_letters={"max_in_a_row": 20})
    pipeline.publish(model_folders[0])
    pipeline.send([b"nonsense %d" % i for i in range(200)])
    worker = pipeline.start_worker()
    error = worker.await_end()
    pipeline.workers.clear()
    assert error is not None
    assert "dead_letters.max_in_a_row" in str(error)


def test_a_dead_letter_topic_that_cannot_be_written_stops_the_worker_before_the_commit(
    make_pipeline: Make, model_folders: list[Path], driver: str
) -> None:
    pipeline = make_pipeline("unwritable", kafka={"driver": driver})
    pipeline.publish(model_folders[0])
    narrow = f"{pipeline.settings.topics.dead_letters}-narrow"
    create_topics(pipeline.settings.kafka, [TopicSpec(narrow, 1)])
    worker = pipeline.start_worker(topics={"dead_letters": narrow})
    pipeline.await_running()
    limit_records(pipeline, narrow, 300)
    pipeline.send([*good_records("s", 3), b"x" * 1000])
    error = worker.await_end()
    pipeline.workers.clear()
    assert isinstance(error, DeliveryError), error
    assert narrow in str(error)
    assert "max.message.bytes" in str(error)
    assert sum(group_lag(pipeline.settings.kafka, pipeline.settings.topics.raw).values()) > 0


def test_a_payload_of_two_megabytes_is_a_dead_letter_like_any_other(
    make_pipeline: Make, model_folders: list[Path]
) -> None:
    pipeline = make_pipeline(
        "large", topic_config={"max.message.bytes": "5000000"}, kafka={"max_message_bytes": 4_000_000}
    )
    pipeline.publish(model_folders[0])
    good = good_records("good", 2)
    large = b"x" * 2_000_000
    pipeline.send([good[0], large, good[1]])
    pipeline.start_worker()
    pipeline.await_traces(3)
    assert pipeline.dead_letters.values == [large]
    assert len(pipeline.cleaned.values) == 2


def values_of(payload: bytes | None) -> dict[str, float]:
    assert payload is not None
    return dict(json.loads(payload)["values"])


def test_missing_values_are_filled_in_not_refused(make_pipeline: Make, model_folders: list[Path]) -> None:
    pipeline = make_pipeline("missing")
    pipeline.publish(model_folders[0])
    whole = [values_of(value) for value in good_records("s", 12)]
    gaps: list[dict[str, float | None]] = [dict(values) for values in whole]
    gaps[9]["pressure"] = None
    gaps[10]["flow"] = float("nan")
    del gaps[11]["temperature"]
    pipeline.send([record("s", START_MS + 1000 * i, values) for i, values in enumerate(gaps)])
    pipeline.start_worker()
    pipeline.await_traces(12)
    cleaned = [values_of(value) for value in pipeline.cleaned.values]
    for row, channel in ((9, "pressure"), (10, "flow"), (11, "temperature")):
        assert np.isfinite(cleaned[row][channel])
        spread = {"temperature": 3.0, "pressure": 0.5, "flow": 20.0}[channel]
        # Within the wave's own range: filled with something like the signal, not with zero.
        assert abs(cleaned[row][channel] - whole[row][channel]) < 3 * spread


def test_what_is_unusual_but_not_broken_works(make_pipeline: Make, model_folders: list[Path]) -> None:
    pipeline = make_pipeline("unusual")
    pipeline.publish(model_folders[0])
    good = good_records("s", 4)
    duplicate = good[3]
    new_stream = record("never-seen-before", START_MS, GOOD)
    values: list[bytes | None] = [*good, duplicate, None, new_stream]
    pipeline.send(values, keys=[None, b"k", None, b"k", None, b"tombstone", None])
    pipeline.start_worker()
    pipeline.await_traces(len(values))
    cleaned = pipeline.cleaned
    assert pipeline.dead_letters.values == []
    assert cleaned.sources == [f"{pipeline.settings.topics.raw}/0/{i}" for i in range(len(values))]
    assert cleaned.by_value(None)[0] == b"tombstone"


def test_a_duplicate_timestamp_is_a_dead_letter_where_the_policy_says_so(
    make_pipeline: Make, model_folders: list[Path]
) -> None:
    pipeline = make_pipeline("duplicate", decode={"duplicate_timestamp": "dead_letter"})
    pipeline.publish(model_folders[0])
    good = good_records("s", 3)
    pipeline.send([good[0], good[1], good[1], good[2]])
    pipeline.start_worker()
    pipeline.await_traces(4)
    assert pipeline.dead_letters.headers[0]["stream-ae-reason"].decode() == Reason.DUPLICATE_TIMESTAMP
    assert len(pipeline.cleaned.values) == 3


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kafka": {"bootstrap_servers": "127.0.0.1:1", "connect_timeout_s": 3.0}}, "127.0.0.1:1"),
        ({"topics": {"raw": "no-such-topic"}}, "no-such-topic"),
        ({"redis": {"url": SecretStr("redis://127.0.0.1:1/0")}}, "redis.url"),
        ({"mlflow": {"tracking_uri": "http://127.0.0.1:1"}}, "mlflow.tracking_uri"),
    ],
)
def test_a_wrong_address_or_topic_stops_the_worker_at_the_start_with_one_line(
    make_pipeline: Make, changes: dict[str, dict[str, object]], named: str
) -> None:
    pipeline = make_pipeline("wrong")
    worker = pipeline.start_worker("w", **changes)
    error = worker.await_end()
    pipeline.workers.clear()
    assert isinstance(error, ConfigError), error
    assert named in str(error)
    assert "\n" not in str(error)

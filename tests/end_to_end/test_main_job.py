"""The main job on real servers: raw in, cleaned and flagged out, the model from MLflow, swapped while running."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from stream_ae import AutoencoderDetector
from stream_ae.flow.audit import audit
from stream_ae.records import Float32
from stream_ae.status import Health
from tests.end_to_end.world import (
    CHANNELS,
    START_MS,
    PipelineOnServers,
    eventually,
    good_records,
    signal_rows,
)

Make = Callable[..., PipelineOnServers]


def rows_of(values: Sequence[bytes | None]) -> Float32:
    return np.array([list(json.loads(value or b"")["values"].values()) for value in values], np.float32)


def audited(pipeline: PipelineOnServers) -> tuple[int, int]:
    topics = pipeline.settings.topics
    report = audit(pipeline.read(topics.raw).batches, pipeline.cleaned.batches, pipeline.dead_letters.batches)
    return report.lost, report.doubled


def test_a_row_means_the_same_online_and_offline(make_pipeline: Make, model_folders: list[Path], driver: str) -> None:
    pipeline = make_pipeline("same", kafka={"driver": driver})
    pipeline.publish(model_folders[0])
    pipeline.send(good_records("a", 300, seed=3))
    pipeline.start_worker()
    pipeline.await_traces(300)
    cleaned = pipeline.cleaned
    detector = AutoencoderDetector.load(model_folders[0])
    x = signal_rows(300, seed=3)
    # JSON carries float32 exactly; a batch of another size may round differently.
    np.testing.assert_allclose(rows_of(cleaned.values), detector.denoise(x), rtol=1e-4)
    scores = [float(headers["stream-ae-score"]) for headers in cleaned.headers]
    # Six significant digits in the header.
    np.testing.assert_allclose(scores, detector.decision_function(x), rtol=1e-3, atol=1e-4)
    flags = [int(headers["stream-ae-flag"]) for headers in cleaned.headers]
    assert np.mean(np.array(flags) == detector.predict(x)) > 0.99


def test_an_injected_fault_is_flagged_from_open_to_close(make_pipeline: Make, model_folders: list[Path]) -> None:
    pipeline = make_pipeline("fault")
    pipeline.publish(model_folders[0])
    values = good_records("pump-1", 120)
    for i in range(60, 64):
        broken = json.loads(values[i])
        broken["values"]["flow"] += 400.0
        values[i] = json.dumps(broken).encode()
    pipeline.send(values, keys=[b"pump-1"] * 120)
    pipeline.start_worker()
    pipeline.await_traces(120)
    events = [json.loads(value or b"") for value in pipeline.flagged.values]
    opened = [event for event in events if event["state"] == "open"]
    at_fault = next(event for event in opened if event["timestamp_ms"] == START_MS + 60_000)
    assert at_fault["stream"] == "pump-1"
    assert at_fault["score"] > at_fault["threshold"]
    assert 0 <= at_fault["p_value"] < 0.005
    assert at_fault["channels"][0]["name"] == "flow"
    assert at_fault["channels"][0]["observed"] - at_fault["channels"][0]["expected"] > 100
    assert at_fault["model"] == {"name": pipeline.settings.pipeline, "version": "1"}
    assert at_fault["source"] == {"topic": pipeline.settings.topics.raw, "partition": 0, "offset": 60}
    after = [event["state"] for event in events if event["timestamp_ms"] > START_MS + 60_000]
    assert "close" in after
    assert set(pipeline.flagged.batches[0].keys) == {b"pump-1"}


def test_the_cleaned_record_is_the_raw_record_with_only_the_values_replaced(
    make_pipeline: Make, model_folders: list[Path]
) -> None:
    pipeline = make_pipeline("shape")
    pipeline.publish(model_folders[0])
    block = signal_rows(5).tolist()
    raw = b'{"site": "north", "stream":"s",  "timestamp": %d, "interval_ms": 1000, "values": %s, "unit": [1]}' % (
        START_MS,
        json.dumps(block).encode(),
    )
    pipeline.send([raw], keys=[b"s"], headers=[(("mine", b"kept"),)], timestamps_ms=[START_MS + 9], partition=1)
    pipeline.start_worker()
    pipeline.await_traces(1)
    batch = next(batch for batch in pipeline.cleaned.batches if len(batch))
    value = batch.values[0] or b""
    head, tail = raw.split(json.dumps(block).encode())
    assert value.startswith(head)
    assert value.endswith(tail)
    assert np.array(json.loads(value)["values"]).shape == (5, len(CHANNELS))
    assert (batch.keys[0], int(batch.partition[0]), int(batch.timestamp_ms[0])) == (b"s", 1, START_MS + 9)
    assert dict(batch.headers[0])["mine"] == b"kept"


def test_two_workers_share_the_partitions_and_reload_under_load_without_losing_a_record(
    make_pipeline: Make, model_folders: list[Path]
) -> None:
    pipeline = make_pipeline("reload")
    pipeline.publish(model_folders[0])
    for name in ("w1", "w2"):
        pipeline.start_worker(name)
    eventually(
        lambda: [len(w.partitions) for w in pipeline.status()] == [1, 1],
        "each of two workers has one of two partitions",
    )
    second = None
    for chunk in range(6):
        records = good_records(f"s{chunk}", 200)
        for partition in (0, 1):
            pipeline.send(records, partition=partition)
        if chunk == 2:
            second = pipeline.publish(model_folders[1])
    assert second is not None
    version = second.version
    eventually(lambda: [w.model.version for w in pipeline.status() if w.model] == [version] * 2, "both run version 2")
    for partition in (0, 1):
        pipeline.send(good_records("last", 50), partition=partition)
    pipeline.await_traces(2 * 6 * 200 + 2 * 50)
    for worker in pipeline.workers:
        worker.stop()
    assert audited(pipeline) == (0, 0)
    made_by = [headers["stream-ae-model"].decode() for headers in pipeline.cleaned.headers]
    assert {name.split("/")[1] for name in made_by} == {"1", "2"}


def test_a_restarted_worker_goes_on_as_if_it_had_never_stopped(make_pipeline: Make, model_folders: list[Path]) -> None:
    pipeline = make_pipeline("restart")
    pipeline.publish(model_folders[0])
    records = good_records("s", 200, seed=5)
    pipeline.send(records[:100])
    first = pipeline.start_worker("w1")
    pipeline.await_traces(100)
    first.stop()
    pipeline.send(records[100:])
    pipeline.start_worker("w2")
    pipeline.await_traces(200)
    offline = AutoencoderDetector.load(model_folders[0])
    scores = [float(headers["stream-ae-score"]) for headers in pipeline.cleaned.headers]
    np.testing.assert_allclose(scores, offline.decision_function(signal_rows(200, seed=5)), rtol=1e-3, atol=1e-4)
    assert audited(pipeline) == (0, 0)


def tampered(folder: Path, destination: Path) -> Path:
    destination.mkdir()
    for file in folder.iterdir():
        (destination / file.name).write_bytes(file.read_bytes())
    weights = destination / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 0xFF
    weights.write_bytes(bytes(content))
    return destination


def truncated(folder: Path, destination: Path) -> Path:
    destination.mkdir()
    for file in folder.iterdir():
        (destination / file.name).write_bytes(file.read_bytes())
    weights = destination / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return destination


@pytest.mark.parametrize("spoil", [tampered, truncated])
def test_a_spoilt_version_is_refused_with_the_reason_and_the_old_one_goes_on(
    make_pipeline: Make, model_folders: list[Path], tmp_path: Path, spoil: Callable[[Path, Path], Path]
) -> None:
    pipeline = make_pipeline("spoilt")
    pipeline.publish(model_folders[0])
    pipeline.start_worker()
    pipeline.await_running()
    pipeline.publish(spoil(model_folders[1], tmp_path / "spoilt"))
    eventually(lambda: bool(pipeline.status()[0].problems), "the worker says why")
    status = pipeline.status()[0]
    assert status.health == Health.DEGRADED
    assert status.problems[0].startswith("version 2 refused: ")
    assert status.model is not None
    assert status.model.version == "1"
    pipeline.send(good_records("s", 10))
    pipeline.await_traces(10)
    assert {headers["stream-ae-model"] for headers in pipeline.cleaned.headers} == {
        f"{pipeline.settings.pipeline}/1".encode()
    }

"""A backfill on real servers: it says what the workers said, and being killed costs it nothing."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import yaml

from jobs.backfill import Outcome, Request, run
from stream_ae.backfill.spans import Asked
from stream_ae.flow.headers import SOURCE
from stream_ae.kafka.admin import partition_count
from tests.end_to_end.process import as_file
from tests.end_to_end.world import START_MS, PipelineOnServers, Written, eventually, good_records

Make = Callable[..., PipelineOnServers]


def by_source(written: Written) -> dict[str, tuple[bytes | None, dict[str, bytes]]]:
    values, headers = written.values, written.headers
    assert len({each[SOURCE] for each in headers}) == len(values), "a raw record has more than one"
    return {each[SOURCE].decode(): (value, each) for value, each in zip(values, headers, strict=True)}


def events_of(written: Written) -> dict[tuple[int, str], float]:
    found = [orjson.loads(value or b"") for value in written.values]
    return {(one["source"]["offset"], one["state"]): one["score"] for one in found}


def numbers(value: bytes | None) -> list[float]:
    return list(orjson.loads(value or b"")["values"].values())


def spoilt(records: list[bytes]) -> list[bytes]:
    """Some cannot be read, some are anomalies."""
    records = list(records)
    for at in range(20, len(records), 70):
        records[at] = b"{"
    for at in range(45, len(records), 90):
        record = orjson.loads(records[at])
        record["values"]["flow"] += 500.0
        records[at] = orjson.dumps(record)
    return records


def send(pipeline: PipelineOnServers, count: int, partition: int = 0) -> None:
    """Two streams, one record a second in turn."""
    streams = [good_records(f"s{number}", count // 2, number, START_MS) for number in (0, 1)]
    records = [record for pair in zip(*streams, strict=True) for record in pair]
    times = [START_MS + 500 * at for at in range(count)]
    pipeline.send(spoilt(records), partition=partition, timestamps_ms=times)


def test_a_backfill_says_what_the_workers_said_in_topics_and_in_files(
    make_pipeline: Make, model_folders: list[Path], driver: str, tmp_path: Path
) -> None:
    pipeline = make_pipeline("backfill", kafka={"driver": driver})
    pipeline.publish(model_folders[0])
    send(pipeline, 600)
    send(pipeline, 100, partition=1)
    worker = pipeline.start_worker()
    pipeline.await_traces(700)
    worker.stop()
    asked, folder = Asked(offsets="0:211-480"), tmp_path / "rows"
    assert run(pipeline.settings, Request(asked, "1", to_topics="again")) == Outcome.DONE
    assert run(pipeline.settings, Request(asked, "champion", to_parquet=folder)) == Outcome.DONE
    topics = pipeline.settings.topics
    wanted = {f"{topics.raw}/0/{at}" for at in range(211, 480)}
    for topic in (topics.cleaned, topics.dead_letters):
        right = {source: said for source, said in by_source(pipeline.read(topic)).items() if source in wanted}
        found = by_source(pipeline.read(f"{topic}-again"))
        assert found.keys() == right.keys()
        for source, (value, headers) in found.items():
            # A batch of another size rounds differently.
            if topic == topics.cleaned:
                np.testing.assert_allclose(numbers(value), numbers(right[source][0]), rtol=1e-5)
                scores = float(headers.pop("stream-ae-score")), float(right[source][1].pop("stream-ae-score"))
                np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-6)
            else:
                assert value == right[source][0]
            assert headers == right[source][1]
    right_events = {key: score for key, score in events_of(pipeline.flagged).items() if 211 <= key[0] < 480}
    found_events = events_of(pipeline.read(f"{topics.flagged}-again"))
    assert found_events.keys() == right_events.keys() != set()
    rows = pq.read_table(folder).to_pandas()
    cleaned = by_source(pipeline.read(f"{topics.cleaned}-again"))
    said = dict(zip(rows["source_offset"], rows["score"], strict=True))
    assert len(said) == len(rows) == 269
    for source, (_, headers) in cleaned.items():
        score = said[int(source.rpartition("/")[2])]
        np.testing.assert_allclose(score, float(headers["stream-ae-score"]), rtol=1e-4, atol=1e-6)


def test_a_killed_backfill_goes_on_and_nothing_is_missing_or_doubled(
    make_pipeline: Make, model_folders: list[Path], tmp_path: Path
) -> None:
    pipeline = make_pipeline("killed", retrain={"lock_lease_s": 1.0}, batch={"max_records": 64})
    pipeline.publish(model_folders[0])
    send(pipeline, 40_000)
    config, cleaned = tmp_path / "backfill.yaml", f"{pipeline.settings.topics.cleaned}-again"
    config.write_text(yaml.safe_dump(as_file(pipeline.settings, "backfill")))
    command = [sys.executable, "-m", "jobs.backfill", "--config", str(config), "--to-topics", "again"]

    def count() -> int:
        return len(pipeline.read(cleaned).values)

    first = subprocess.Popen(command)
    eventually(lambda: partition_count(pipeline.settings.kafka, cleaned) > 0 and count() > 0, "it writes", 120.0)
    first.kill()
    first.wait()
    before = count()
    codes: list[int] = []

    def gone_on() -> bool:
        codes.append(subprocess.call(command))
        return codes[-1] != Outcome.LOCKED

    eventually(gone_on, "the lease of the killed one has ended", 120.0)
    assert codes[-1] == Outcome.DONE
    assert 0 < before < 39_000
    traces = Counter(
        source
        for topic in (pipeline.settings.topics.cleaned, pipeline.settings.topics.dead_letters)
        for source in pipeline.read(f"{topic}-again").sources
    )
    assert traces == Counter(f"{pipeline.settings.topics.raw}/0/{at}" for at in range(40_000))
    events = [orjson.loads(value or b"") for value in pipeline.read(f"{pipeline.settings.topics.flagged}-again").values]
    assert len(events) == len({(one["source"]["offset"], one["state"]) for one in events}) > 0

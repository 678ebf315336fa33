"""The judge itself: it finds nothing in an undisturbed run, and each kind of damage that is done to one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream_ae.flow.pipeline import Pipeline
from stream_ae.models.serialization import load, save
from stream_ae.records import NO_HEADERS, Int64, ModelIdentity, OutgoingBatch, Partition, RecordBatch
from stream_ae.settings import Settings, TrainingSettings
from stream_ae.training import train
from tests.chaos.compare import Topics, Verdict, judged
from tests.chaos.known import KnownPartition
from tests.end_to_end.world import CHANNELS, WINDOW, Written, signal_rows

COUNT = 400
SEED = 3


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("version")
    options = TrainingSettings(window=WINDOW, max_epochs=5, threads=1, denoiser="autoencoder")
    save(train([signal_rows(1500)], CHANNELS, options).detector, folder)
    return folder


@pytest.fixture(scope="module")
def topics(version: Path) -> Topics:
    """What a worker writes of one known partition when nothing goes wrong."""
    settings = Settings()
    known = KnownPartition(0, SEED).more(COUNT)
    raw = RecordBatch(
        settings.topics.raw,
        np.zeros(COUNT, np.int32),
        np.arange(COUNT, dtype=np.int64),
        np.array([record.kafka_ms for record in known], np.int64),
        [None] * COUNT,
        [record.value for record in known],
        [NO_HEADERS] * COUNT,
    )
    pipeline = Pipeline(settings, "stream-ae/test")
    pipeline.use(load(version).with_identity(ModelIdentity("chaos", "1", "0" * 64)))
    pipeline.assign({Partition(settings.topics.raw, 0): None})
    pipeline.feed(raw, 0.0)
    written: list[list[OutgoingBatch]] = []
    while (work := pipeline.take(0.0, device_idle=True)) is not None:
        outputs = pipeline.complete(work, work.model.infer(work.windows))
        written.append([outputs.cleaned, outputs.flagged, outputs.dead_letters])
    cleaned, flagged, dead_letters = (
        Written([as_read(batch) for batch in topic]) for topic in zip(*written, strict=True)
    )
    return Topics(Written([raw]), cleaned, flagged, dead_letters)


def test_an_undisturbed_run_is_right(topics: Topics, version: Path) -> None:
    assert verdict(topics, version) == Verdict(COUNT, 0, 0, 0, [])
    assert len(topics.flagged.values) > 0
    assert len(topics.dead_letters.values) > 0


def test_a_missing_and_a_doubled_record_are_found(topics: Topics, version: Path) -> None:
    (batch,) = topics.cleaned.batches
    without_third = picked(batch, [i for i in range(len(batch)) if i != 3])
    assert verdict(replace(topics, cleaned=Written([without_third])), version).lost == 1
    assert verdict(replace(topics, cleaned=Written([batch, picked(batch, [5])])), version).doubled == 1


@pytest.mark.parametrize(
    ("header", "sentence"), [("stream-ae-score", "score 9.5 instead of"), ("stream-ae-flag", "flag True at score")]
)
def test_another_score_or_flag_is_found(topics: Topics, version: Path, header: str, sentence: str) -> None:
    changed = {"stream-ae-score": b"9.5", "stream-ae-flag": b"1"}[header]
    (batch,) = topics.cleaned.batches
    row = [dict(headers)["stream-ae-flag"] for headers in batch.headers].index(b"0")
    headers = list(batch.headers)
    headers[row] = tuple((name, changed if name == header else value) for name, value in batch.headers[row])
    wrong = verdict(replace(topics, cleaned=Written([replace(batch, headers=headers)])), version).wrong
    assert sentence in wrong[0]


def test_the_values_of_another_record_are_found(topics: Topics, version: Path) -> None:
    (batch,) = topics.cleaned.batches
    values = [batch.values[1], *batch.values[1:]]
    assert "values [[" in verdict(replace(topics, cleaned=Written([replace(batch, values=values)])), version).wrong[0]


def test_a_flag_that_the_flagged_topic_does_not_report_is_found(topics: Topics, version: Path) -> None:
    wrong = verdict(replace(topics, flagged=Written([])), version).wrong
    assert "is flagged, but not in the flagged topic" in wrong[0]


def verdict(topics: Topics, version: Path) -> Verdict:
    partition = KnownPartition(0, SEED)
    partition.more(COUNT)
    return judged(topics, {0: partition}, lambda _: version)


def as_read(batch: OutgoingBatch) -> RecordBatch:
    count: Int64 = np.arange(len(batch), dtype=np.int64)
    return RecordBatch(batch.topic, batch.partition, count, batch.timestamp_ms, batch.keys, batch.values, batch.headers)


def picked(batch: RecordBatch, rows: Sequence[int]) -> RecordBatch:
    return replace(
        batch,
        partition=batch.partition[list(rows)],
        offset=batch.offset[list(rows)],
        timestamp_ms=batch.timestamp_ms[list(rows)],
        keys=[batch.keys[row] for row in rows],
        values=[batch.values[row] for row in rows],
        headers=[batch.headers[row] for row in rows],
    )

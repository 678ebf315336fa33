"""The latent topic on a real broker: what a worker publishes, decoded back."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stream_ae.errors import ConfigError
from stream_ae.flow.latent import decode_latent
from stream_ae.flow.window import windows_of
from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.models.serialization import load
from tests.end_to_end.world import PipelineOnServers, Written, eventually, good_records, signal_rows

Make = Callable[..., PipelineOnServers]
COUNT = 50


def latent(pipeline: PipelineOnServers) -> Written:
    assert pipeline.settings.topics.latent is not None
    return pipeline.read(pipeline.settings.topics.latent)


@pytest.mark.parametrize(
    ("driver", "delivery"),
    [("confluent", "at_least_once"), ("kafka-python", "at_least_once"), ("confluent", "exactly_once")],
)
def test_published_codes_are_those_of_the_offline_model_and_decode_to_its_windows(
    make_pipeline: Make, model_folders: list[Path], driver: str, delivery: str
) -> None:
    pipeline = make_pipeline("latent", latent=True, kafka={"driver": driver})
    pipeline.settings = pipeline.settings.model_copy(update={"delivery": delivery})
    pipeline.publish(model_folders[0])
    pipeline.send(good_records("pump-1", COUNT), keys=[b"pump-1"] * COUNT, partition=1)
    pipeline.start_worker()
    eventually(lambda: len(latent(pipeline).values) >= COUNT, f"{COUNT} records with codes")
    found, cleaned = latent(pipeline), pipeline.cleaned
    assert found.sources == cleaned.sources
    for batch, other in zip(found.batches, cleaned.batches, strict=True):
        assert list(batch.keys) == list(other.keys) == [b"pump-1"] * len(batch)
        np.testing.assert_array_equal(batch.partition, 1)
        np.testing.assert_array_equal(batch.timestamp_ms, other.timestamp_ms)
    detector = load(model_folders[0])
    codes = np.concatenate(
        [
            decode_latent(value, tuple(headers.items()))
            for value, headers in zip(found.values, found.headers, strict=True)
        ]
    )
    assert codes.shape == (COUNT, detector.code_size)
    assert {headers["stream-ae-model"].decode() for headers in found.headers} == {f"{pipeline.settings.pipeline}/1"}
    offline = detector.encode(windows_of(signal_rows(COUNT), detector.window, detector.lookahead))
    # A batch of another size may round differently.
    np.testing.assert_allclose(codes, offline, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(detector.decode(codes), detector.decode(offline), rtol=1e-3)


def test_a_latent_topic_with_too_few_partitions_stops_the_worker_at_the_start(make_pipeline: Make) -> None:
    pipeline = make_pipeline("narrow-latent")
    narrow = f"{pipeline.settings.pipeline}-narrow"
    create_topics(pipeline.settings.kafka, [TopicSpec(narrow, 1)])
    worker = pipeline.start_worker("w", topics={"latent": narrow})
    error = worker.await_end()
    pipeline.workers.remove(worker)
    assert isinstance(error, ConfigError)
    assert "a latent record keeps the partition" in str(error)

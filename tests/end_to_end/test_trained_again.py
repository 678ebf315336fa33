"""A version is trained again from what MLflow and Kafka say of it, on real servers."""

import json
from collections.abc import Callable

import pytest
from mlflow import MlflowClient

from jobs.retrain import Outcome, Progress, run
from jobs.training_data import Asked
from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.kafka.driver import open_sink
from stream_ae.settings import Settings
from tests.end_to_end.world import CLOCK, PipelineOnServers, good_records, raw_batch

Make = Callable[..., PipelineOnServers]


def _retrained(settings: Settings, **asked: str) -> tuple[int, list[str]]:
    said: list[str] = []
    progress = Progress(said.append, lambda done, total: None, lambda epoch: None)
    return run(settings, progress, asked=Asked(**asked)), said


@pytest.mark.servers
def test_a_version_comes_out_again_with_the_same_weights_though_more_was_sent_and_said_meanwhile(
    make_pipeline: Make, driver: str
) -> None:
    pipeline = make_pipeline("again", kafka={"driver": driver}, training={"window": 8, "max_epochs": 2})
    topics = pipeline.settings.topics.model_copy(update={"feedback": f"{pipeline.settings.pipeline}-feedback"})
    settings = pipeline.settings.model_copy(
        update={"topics": topics, "retrain": pipeline.settings.retrain.model_copy(update={"watch_s": 0.0})}
    )
    create_topics(settings.kafka, [TopicSpec(str(topics.feedback), 1)])
    now_ms = CLOCK.wall_ms()
    for partition, stream in enumerate(("a", "b")):
        pipeline.send(good_records(stream, 400, seed=partition), timestamps_ms=[now_ms] * 400, partition=partition)
    _say(pipeline, str(topics.feedback), 100, "anomaly")
    code, said = _retrained(settings)
    assert code == Outcome.PROMOTED, said
    _say(pipeline, str(topics.feedback), 200, "anomaly")
    pipeline.send(good_records("a", 50, seed=3), timestamps_ms=[now_ms] * 50)
    code, said = _retrained(settings, like="1")
    assert code == Outcome.PROMOTED, said
    assert "version 1 came out again with the same weights" in said[-1]
    assert [version.version for version in pipeline.store.versions()] == ["1"]
    client = MlflowClient(settings.mlflow.tracking_uri)
    (data,) = client.get_run(client.get_model_version(settings.pipeline, "1").run_id).inputs.dataset_inputs
    assert json.loads(data.dataset.source)["offsets"] == "0:0-400,1:0-400"
    assert json.loads(data.dataset.profile)["excluded"] == 1


def _say(pipeline: PipelineOnServers, topic: str, offset: int, label: str) -> None:
    source = {"topic": pipeline.settings.topics.raw, "partition": 0, "offset": offset}
    sink = open_sink(pipeline.settings.kafka)
    sink.produce(raw_batch(topic, [json.dumps({"source": source, "label": label}).encode()], None, None, None, 0))
    sink.flush(30.0)
    sink.close()

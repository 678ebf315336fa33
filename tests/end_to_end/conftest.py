"""Pipelines with names of their own on the session's servers."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.settings import Settings
from tests.end_to_end.process import WorkerProcess
from tests.end_to_end.world import CLOCK, PipelineOnServers, with_changes


@pytest.fixture(params=["confluent", "kafka-python"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_pipeline(
    kafka_servers: str, redis_url: str, mlflow_uri: str, tmp_path: Path
) -> Iterator[Callable[..., PipelineOnServers]]:
    """Builds pipelines with topics, group and model name of their own; stops their workers at the end."""
    made: list[PipelineOnServers] = []

    def make(
        name: str,
        topic_config: Mapping[str, str] | None = None,
        partitions: int = 2,
        latent: bool = False,
        **changes: Mapping[str, object],
    ) -> PipelineOnServers:
        unique = f"{name}-{CLOCK.wall_ms()}-{len(made)}"
        settings = Settings.model_validate(
            {
                "pipeline": unique,
                "kafka": {"bootstrap_servers": kafka_servers, "group_id": unique},
                "topics": {t: f"{unique}-{t}" for t in ("raw", "cleaned", "flagged", "dead_letters")},
                "redis": {"url": redis_url},
                "mlflow": {"tracking_uri": mlflow_uri},
                "worker": {
                    "cache_dir": str(tmp_path / "cache"),
                    "commit_interval_s": 0.1,
                    "heartbeat_s": 0.5,
                    "reconcile_interval_s": 1.0,
                },
            }
        )
        settings = with_changes(settings, changes)
        topics = settings.topics
        if latent:
            topics = topics.model_copy(update={"latent": f"{unique}-latent"})
            settings = settings.model_copy(update={"topics": topics})
        create_topics(
            settings.kafka, [TopicSpec(name, partitions, config=topic_config or {}) for name in topics.names()]
        )
        made.append(PipelineOnServers(settings, tmp_path))
        return made[-1]

    yield make
    for pipeline in made:
        for worker in pipeline.workers:
            worker.stop()


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers as processes; none outlives the test."""
    started: list[WorkerProcess] = []

    def start(
        settings: Settings, environment: Mapping[str, str] | None = None, **changes: Mapping[str, object]
    ) -> WorkerProcess:
        name = f"process-{len(started)}"
        started.append(WorkerProcess(with_changes(settings, changes), tmp_path, name, environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()

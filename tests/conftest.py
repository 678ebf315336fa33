"""Real servers for the tests that need them: started once a session, or taken from elsewhere.

STREAM_AE_TEST_KAFKA, STREAM_AE_TEST_REDIS and STREAM_AE_TEST_MLFLOW name servers to use instead of embedded ones;
`--containers` takes Kafka and Redis from testcontainers. Tests share the servers: names come from `unique`. Those of
`stack` are embedded ones always, for the tests that kill, freeze and restart them.
"""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

from stream_ae.localdev.kafka import embedded_kafka
from stream_ae.localdev.mlflow import embedded_mlflow
from stream_ae.localdev.process import free_port
from stream_ae.localdev.stack import Stack
from stream_ae.localdev.valkey import embedded_valkey
from stream_ae.settings import TopicSettings, TrainingSettings

# The same examples in every run, so that a failure is there again; `--hypothesis-profile=search` looks for new ones.
hypothesis.settings.register_profile("repeat", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", max_examples=5000, deadline=None, print_blob=True)
hypothesis.settings.load_profile("repeat")

SERVER_FIXTURES = {"kafka_servers", "redis_url", "mlflow_uri", "servers_to_break"}
KAFKA_IMAGE = "apache/kafka:4.4.0"
KAFKA_VARIABLES = {
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_LISTENERS": "MACHINE://:9092,INSIDE://:19092,CONTROLLER://:9093",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "MACHINE:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "INSIDE",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--containers", action="store_true", help="take Kafka and Redis from testcontainers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for a real server, so that `-m 'not servers'` needs none."""
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


@pytest.fixture(scope="session")
def kafka_servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a real broker; it creates no topics by itself."""
    if given := os.environ.get("STREAM_AE_TEST_KAFKA"):
        yield given
    elif request.config.getoption("--containers"):
        with _kafka_container() as address:
            yield address
    else:
        with embedded_kafka(tmp_path_factory.mktemp("kafka")) as server:
            yield server.address
            # Nobody needs its data: no time is spent on an orderly end.
            server.kill()


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Redis or Valkey."""
    if given := os.environ.get("STREAM_AE_TEST_REDIS"):
        yield given
    elif request.config.getoption("--containers"):
        with _redis_container() as url:
            yield url
    else:
        with embedded_valkey(tmp_path_factory.mktemp("valkey")) as server:
            yield server.address


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Tracking URI of a real MLflow server."""
    if given := os.environ.get("STREAM_AE_TEST_MLFLOW"):
        yield given
    else:
        with embedded_mlflow(tmp_path_factory.mktemp("mlflow")) as server:
            yield server.address
            server.kill()


@pytest.fixture(scope="session")
def servers_to_break(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Kafka, a Valkey and an MLflow that no other test relies on."""
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
        for server in stack.servers:
            server.kill()


@pytest.fixture
def stack(servers_to_break: Stack) -> Stack:
    """The same, all three running, whatever the tests before did to them."""
    for server in servers_to_break.servers:
        if server.running:
            server.resume()
        else:
            server.start()
    return servers_to_break


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """Two small versions that differ in their seed, for signals as `tests/end_to_end/world.py` makes them."""
    from stream_ae.models.serialization import save
    from stream_ae.training import train
    from tests.end_to_end.world import CHANNELS, WINDOW, signal_rows

    folders = []
    for seed in (0, 1):
        options = TrainingSettings(window=WINDOW, seed=seed, max_epochs=5, threads=1, denoiser="autoencoder")
        trained = train([signal_rows(1500, stream) for stream in range(2)], CHANNELS, options)
        folder = tmp_path_factory.mktemp(f"version-{seed}")
        save(trained.detector, folder)
        folders.append(folder)
    return folders


@pytest.fixture(scope="session")
def image_model_folders(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """Two small versions for frames as `tests/models/images/conftest.py` makes them, which differ in their seed."""
    from stream_ae.models.version import save
    from stream_ae.training.images import train_frames
    from tests.models.images.conftest import disks

    folders = []
    for seed in (0, 1):
        options = TrainingSettings(seed=seed, max_epochs=2, threads=1, denoiser_steps=20, false_alarm_rate=0.05)
        folder = tmp_path_factory.mktemp(f"image-version-{seed}")
        save(train_frames(disks(150), ("grey",), options).detector, folder)
        folders.append(folder)
    return folders


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Names that no other test has: `unique("raw")` is `raw-1f3a9c0b`."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def topic_names(unique: Callable[[str], str]) -> TopicSettings:
    """Four topic names of this test's own; the topics do not exist yet."""
    return TopicSettings(
        raw=unique("raw"), cleaned=unique("cleaned"), flagged=unique("flagged"), dead_letters=unique("dead-letters")
    )


@contextmanager
def _kafka_container() -> Iterator[str]:
    """The broker of deploy/compose.yaml. testcontainers' KafkaContainer knows Confluent's images only."""
    _need_engine()
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    # Advertised before the container runs, so the engine cannot choose it.
    port = free_port()
    container = (
        DockerContainer(KAFKA_IMAGE)
        .with_bind_ports(9092, port)
        .with_envs(**KAFKA_VARIABLES, KAFKA_ADVERTISED_LISTENERS=f"MACHINE://localhost:{port},INSIDE://localhost:19092")
        .waiting_for(LogMessageWaitStrategy("Kafka Server started"))
    )
    with container:
        yield f"localhost:{port}"


@contextmanager
def _redis_container() -> Iterator[str]:
    _need_engine()
    from testcontainers.community.redis import RedisContainer

    container = RedisContainer()
    with container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


def _need_engine() -> None:
    import docker

    try:
        docker.from_env(timeout=5).ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"--containers: no Docker engine answers ({error}); start one or set DOCKER_HOST")

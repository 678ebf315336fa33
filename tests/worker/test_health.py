"""The port that probes and Prometheus ask."""

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from stream_ae.errors import ConfigError
from stream_ae.records import ModelIdentity
from stream_ae.telemetry import WorkerMetrics
from stream_ae.testing import ManualClock
from stream_ae.worker.health import HealthServer
from stream_ae.worker.status import StatusBoard


class Probed:
    """A served board, with the questions a probe asks."""

    def __init__(self) -> None:
        self.board = StatusBoard("w", ManualClock())
        self.metrics = WorkerMetrics()
        self.server = HealthServer("127.0.0.1", 0, self.metrics.registry, self.board.snapshot)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.server.address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def probed() -> Iterator[Probed]:
    probed = Probed()
    with probed.server:
        yield probed


def test_a_worker_without_a_model_is_alive_but_not_ready(probed: Probed) -> None:
    assert probed.get("/healthz") == (200, "alive\n")
    assert probed.get("/readyz") == (503, "waiting for a model\n")


def test_a_degraded_worker_is_ready_and_says_what_is_wrong(probed: Probed) -> None:
    probed.board.swapped(ModelIdentity("pump", "1", "aa"))
    probed.board.problem("redis", "Redis is away")
    assert probed.get("/readyz") == (200, "degraded\nRedis is away\n")


def test_a_draining_worker_is_not_ready(probed: Probed) -> None:
    probed.board.swapped(ModelIdentity("pump", "1", "aa"))
    probed.board.draining()
    assert probed.get("/readyz")[0] == 503


def test_a_stalled_worker_is_neither_alive_nor_ready_and_says_why(probed: Probed) -> None:
    probed.board.swapped(ModelIdentity("pump", "1", "aa"))
    probed.board.stalled("model has made no progress for 60 s")
    assert probed.get("/healthz") == (503, "stalled\nmodel has made no progress for 60 s\n")
    assert probed.get("/readyz") == (503, "stalled\nmodel has made no progress for 60 s\n")
    probed.board.stalled(None)
    assert probed.get("/healthz") == (200, "alive\n")


def test_metrics_are_in_the_format_of_prometheus(probed: Probed) -> None:
    probed.metrics.records.inc(3)
    status, text = probed.get("/metrics")
    assert status == 200
    assert "stream_ae_records_total 3.0" in text


def test_other_paths_are_not_found(probed: Probed) -> None:
    assert probed.get("/") == (404, "/healthz /readyz /metrics\n")


def test_a_port_in_use_is_a_configuration_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*worker.http_port"):
            HealthServer("127.0.0.1", port, WorkerMetrics().registry, StatusBoard("w", ManualClock()).snapshot)

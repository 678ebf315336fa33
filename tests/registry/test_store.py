"""MlflowStore when MLflow is frozen, killed or something else, and what MLflow itself makes of a version."""

import http.server
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from stream_ae.api import AutoencoderDetector
from stream_ae.clock import Deadline, SystemClock
from stream_ae.errors import ConfigError, DigestError, ModelError, TransientError
from stream_ae.localdev.stack import Stack
from stream_ae.registry.cache import VersionCache
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import MlflowSettings
from tests.models.images.conftest import disks


@pytest.fixture(scope="module")
def detector() -> AutoencoderDetector:
    rng = np.random.default_rng(0)
    x = np.sin(np.arange(600)[:, None] / np.array([5.0, 7.0])) + rng.normal(0, 0.05, (600, 2))
    return AutoencoderDetector(window=8, max_epochs=2, threads=1).fit(x)


@pytest.fixture
def folder(detector: AutoencoderDetector, tmp_path: Path) -> Path:
    detector.save(tmp_path / "made")
    return tmp_path / "made"


@pytest.fixture
def store(mlflow_uri: str, unique: Callable[[str], str]) -> MlflowStore:
    return MlflowStore(MlflowSettings(tracking_uri=mlflow_uri, timeout_s=60.0), unique("pump"))


def test_mlflow_loads_a_version_as_a_model_that_says_what_the_detector_says(
    store: MlflowStore, mlflow_uri: str, detector: AutoencoderDetector, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store.register(folder, {}, {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    model = mlflow.pyfunc.load_model(f"models:/{version.name}/{version.version}")
    x = np.array([[0.1, 0.2], [np.nan, 0.4], [9.0, 0.1]], np.float32)
    answers = model.predict(x)
    assert list(answers) == ["score", "flag", "denoised_x0", "denoised_x1"]
    np.testing.assert_array_equal(answers["score"], detector.decision_function(x))
    np.testing.assert_array_equal(answers["flag"], detector.predict(x) == 1)
    np.testing.assert_array_equal(answers[["denoised_x0", "denoised_x1"]], detector.denoise(x))


def test_a_version_for_frames_scores_arrays_of_them_in_mlflow(
    store: MlflowStore, mlflow_uri: str, image_model_folders: Sequence[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store.register(image_model_folders[0], {}, {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    model = mlflow.pyfunc.load_model(f"models:/{version.name}/{version.version}")
    frames, detector = disks(5), AutoencoderDetector.load(image_model_folders[0])
    answers = model.predict(frames)
    assert list(answers) == ["score", "flag"]
    np.testing.assert_array_equal(answers["score"], detector.decision_function(frames))
    np.testing.assert_array_equal(answers["flag"], detector.predict(frames) == 1)


def test_a_version_has_one_finished_run_with_its_numbers_and_its_lineage(
    store: MlflowStore, mlflow_uri: str, folder: Path
) -> None:
    version = store.register(folder, {"parent_version": "16"}, {"loss": 0.25, "flagged": 0.005})
    client = MlflowClient(mlflow_uri)
    experiment = client.get_experiment_by_name(version.name)
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("version 1", "FINISHED")
    assert run.data.metrics == {"loss": 0.25, "flagged": 0.005}
    assert run.data.params["window"] == "8"
    assert run.data.params["architecture.kind"] == "dense"
    assert run.data.tags["parent_version"] == "16"
    assert client.get_model_version(version.name, "1").run_id == run.info.run_id


def test_pictures_lie_beside_the_numbers_of_the_run_and_not_in_the_version(
    store: MlflowStore, mlflow_uri: str, folder: Path, tmp_path: Path
) -> None:
    version = store.register(folder, {}, {}, {"latent-map.png": b"\x89PNG"})
    client = MlflowClient(mlflow_uri)
    run_id = client.get_model_version(version.name, "1").run_id
    assert [file.path for file in client.list_artifacts(run_id)] == ["latent-map.png"]
    fetched = store.fetch("1", tmp_path / "fetched")
    assert sorted(file.name for file in fetched.iterdir()) == sorted(file.name for file in folder.iterdir())


def test_a_registration_that_fails_leaves_a_failed_run_and_no_version(
    store: MlflowStore, mlflow_uri: str, folder: Path
) -> None:
    store.register(folder, {}, {})
    with pytest.raises(ModelError, match="version of .* not registered"):
        store.register(folder, {}, {"a metric / with a wrong name?": 1.0})
    client = MlflowClient(mlflow_uri)
    (version,) = store.versions()
    runs = client.search_runs([client.get_experiment_by_name(version.name).experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]


def test_a_version_tampered_with_in_mlflow_is_refused_by_the_cache(
    store: MlflowStore, mlflow_uri: str, folder: Path, tmp_path: Path
) -> None:
    version = store.register(folder, {}, {})
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "weights.safetensors").write_bytes(b"other weights")
    client = MlflowClient(mlflow_uri)
    experiment = client.get_experiment_by_name(version.name)
    (model,) = client.search_logged_models([experiment.experiment_id])
    client.log_model_artifacts(model.model_id, str(changed), "data/version")
    with pytest.raises(DigestError, match="its files were changed in the registry"):
        VersionCache(tmp_path / "cache").fetch(store, version.identity)


def test_a_server_that_is_frozen_or_killed_is_a_transient_error(stack: Stack, tmp_path: Path) -> None:
    server = stack.mlflow
    store = MlflowStore(MlflowSettings(tracking_uri=server.address, timeout_s=1.0), "pump")
    _eventually_answers(store)
    server.pause()
    with pytest.raises(TransientError, match=f"MLflow at {server.address} did not answer in time"):
        store.champion()
    server.resume()
    _eventually_answers(store)
    server.kill()
    for call in (store.champion, store.versions, lambda: store.fetch("1", tmp_path / "fetched")):
        with pytest.raises(TransientError, match=rf"MLflow at {server.address} is not reached: .* right\?"):
            call()


def test_another_web_server_is_not_taken_for_an_empty_mlflow() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        store = MlflowStore(MlflowSettings(tracking_uri=f"http://127.0.0.1:{other.server_port}"), "pump")
        with pytest.raises(TransientError, match="champion of pump not read"):
            store.champion()
        with pytest.raises(TransientError, match="versions of pump not read"):
            store.versions()
        other.shutdown()
        thread.join()


@pytest.mark.parametrize("uri", ["localhost:5000", "http://", "./mlruns", "file:///tmp/mlruns", "ftp://host/x", ""])
def test_an_address_that_cannot_be_one_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"mlflow\.tracking_uri"):
        MlflowStore(MlflowSettings(tracking_uri=uri), "pump")


def test_a_password_in_the_address_is_not_in_the_error() -> None:
    store = MlflowStore(MlflowSettings(tracking_uri="http://me:s3cret-pw@127.0.0.1:1"), "pump")
    with pytest.raises(TransientError, match=r"MLflow at http://127.0.0.1:1") as caught:
        store.champion()
    assert "s3cret-pw" not in str(caught.value)


def _eventually_answers(store: MlflowStore) -> None:
    """Return when the store has answered; its first answers after a start may take longer than its limit."""
    clock = SystemClock()
    deadline = Deadline.after(clock, 60.0)
    while True:
        try:
            store.champion()
            return
        except TransientError:
            assert not deadline.passed(), "MLflow does not answer"


def test_the_records_that_a_version_was_trained_on_are_a_dataset_of_its_run(
    store: MlflowStore, mlflow_uri: str, folder: Path
) -> None:
    told = {"topic": "pumps", "partitions": "0,1", "offsets": "0:17-900,1:0-450", "records": "1333", "flagged": "12"}
    version = store.register(folder, {f"stream_ae.{name}": text for name, text in told.items()}, {})
    client = MlflowClient(mlflow_uri)
    (logged,) = client.get_run(client.get_model_version(version.name, "1").run_id).inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.source_type) == ("pumps", "kafka")
    assert json.loads(logged.dataset.source)["offsets"] == "0:17-900,1:0-450"
    assert json.loads(logged.dataset.profile) == {"records": 1333, "flagged": 12}
    assert [column["name"] for column in json.loads(logged.dataset.schema)["mlflow_colspec"]] == ["x0", "x1"]
    assert [(tag.key, tag.value) for tag in logged.tags] == [("mlflow.data.context", "training")]


def test_a_version_from_files_has_no_dataset(store: MlflowStore, mlflow_uri: str, folder: Path) -> None:
    version = store.register(folder, {"source": "pump.csv"}, {})
    client = MlflowClient(mlflow_uri)
    assert client.get_run(client.get_model_version(version.name, "1").run_id).inputs.dataset_inputs == []

"""What every ModelStore promises: the one in memory, MLflow over HTTP and MLflow on SQLite."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stream_ae.clock import SystemClock
from stream_ae.digest import folder_digest
from stream_ae.errors import ModelError
from stream_ae.ports import ModelStore
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import MlflowSettings
from stream_ae.testing import InMemoryStore

CONFIG = b'{"architecture": {"kind": "dense"}, "channels": ["temperature", "flow"], "window": 32}'


@pytest.fixture(scope="session")
def sqlite_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for the session: creating it takes MLflow 7-12 s."""
    return f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/mlflow.db"


@pytest.fixture(params=["memory", *(pytest.param(k, marks=pytest.mark.servers) for k in ("http", "sqlite"))])
def store(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> ModelStore:
    name = unique("pump")
    if request.param == "memory":
        return InMemoryStore(SystemClock(), name)
    uri = request.getfixturevalue("mlflow_uri" if request.param == "http" else "sqlite_uri")
    return MlflowStore(MlflowSettings(tracking_uri=uri, timeout_s=60.0), name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _version_folder(tmp_path / "made", b"weights")


def _version_folder(folder: Path, weights: bytes) -> Path:
    folder.mkdir()
    (folder / "config.json").write_bytes(CONFIG)
    (folder / "weights.safetensors").write_bytes(weights)
    return folder


def _files(folder: Path) -> Mapping[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_stream_profiles_are_stored_and_promoted_as_models_are(store: ModelStore, tmp_path: Path) -> None:
    made = tmp_path / "profiles"
    made.mkdir()
    (made / "config.json").write_bytes(b'{"holds": "profiles", "channels": ["flow"], "streams": ["s"]}')
    (made / "profiles.safetensors").write_bytes(b"numbers")
    version = store.register(made, {"model": "16"}, {"streams": 1.0})
    assert store.promote(version.version).digest == folder_digest(made)
    fetched = store.fetch(version.version, tmp_path / "fetched")
    assert _files(fetched) == _files(made)


def test_an_empty_store_has_no_versions_and_no_champion(store: ModelStore) -> None:
    assert store.versions() == []
    assert store.champion() is None


def test_a_version_comes_back_as_it_was_registered(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    made = store.register(folder, {"parent": "16", "span": "raw/0:1-9"}, {"loss": 0.25})
    assert made.version == "1"
    assert made.digest == folder_digest(folder)
    assert made.tags == {"parent": "16", "span": "raw/0:1-9"}
    assert made.aliases == ()
    fetched = store.fetch("1", tmp_path / "fetched" / "here")
    assert fetched == tmp_path / "fetched" / "here"
    assert _files(fetched) == _files(folder)


def test_versions_are_numbered_and_oldest_first(store: ModelStore, folder: Path, tmp_path: Path) -> None:
    other = _version_folder(tmp_path / "other", b"other weights")
    made = [store.register(folder, {}, {}), store.register(other, {}, {}), store.register(folder, {}, {})]
    assert [version.version for version in made] == ["1", "2", "3"]
    assert store.versions() == made
    assert made[0].digest == made[2].digest != made[1].digest
    assert [version.created_ms for version in made] == sorted(version.created_ms for version in made)


def test_promotion_moves_the_alias(store: ModelStore, folder: Path) -> None:
    store.register(folder, {}, {})
    store.register(folder, {}, {})
    assert store.champion() is None
    assert store.promote("1").aliases == ("champion",)
    promoted = store.promote("2")
    assert promoted.version == "2"
    assert store.champion() == promoted
    assert [version.aliases for version in store.versions()] == [(), ("champion",)]


@pytest.mark.parametrize("version", ["7", "newest", "", "-1"])
def test_a_version_that_does_not_exist_is_a_model_error(
    store: ModelStore, folder: Path, tmp_path: Path, version: str
) -> None:
    store.register(folder, {}, {})
    with pytest.raises(ModelError, match=version or "version"):
        store.promote(version)
    with pytest.raises(ModelError, match=version or "version"):
        store.fetch(version, tmp_path / "fetched")
    assert store.champion() is None


def test_a_store_that_knows_nothing_yet_has_no_version_to_promote(store: ModelStore) -> None:
    with pytest.raises(ModelError, match="no version 1"):
        store.promote("1")


def test_an_empty_folder_is_not_registered(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist or is empty"):
        store.register(tmp_path / "absent", {}, {})
    assert store.versions() == []


def test_what_is_said_of_a_version_later_is_added(store: ModelStore, folder: Path) -> None:
    made = store.register(folder, {"parent": "16"}, {}, description="no worse")
    store.tag(made.version, {"by": "jobs.retrain"})
    assert [version.description for version in (made, *store.versions())] == ["no worse", "no worse"]
    store.tag(made.version, {"rolled_back": "40% of the records were flagged"}, "rolled back; no worse")
    (found,) = store.versions()
    assert found.description == "rolled back; no worse"
    assert found.tags == {"parent": "16", "rolled_back": "40% of the records were flagged", "by": "jobs.retrain"}
    assert found.digest == made.digest
    with pytest.raises(ModelError):
        store.tag("7", {"x": "y"})

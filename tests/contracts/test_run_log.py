"""What every RunLog promises: the one in memory, and MLflow over HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import pytest
from mlflow import MlflowClient

from stream_ae.errors import ModelError, TransientError
from stream_ae.ports import DeployedRun, Point, RunLog
from stream_ae.records import ModelIdentity
from stream_ae.registry.deployed import MlflowRuns
from stream_ae.settings import MlflowSettings
from stream_ae.testing import InMemoryRunLog

V1 = ModelIdentity("pump", "1", "1" * 64)
V2 = ModelIdentity("pump", "2", "2" * 64)
BEGIN_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Shown:
    """What a person sees of a run: (time, value) of each metric's points, tags of ours."""

    curves: Mapping[str, list[tuple[int, float]]]
    tags: Mapping[str, str]
    in_service: bool


class World(Protocol):
    @property
    def log(self) -> RunLog: ...

    def again(self) -> RunLog:
        """Another client of the same server."""
        ...

    def shown(self, run: DeployedRun) -> Shown: ...

    def picture(self, run: DeployedRun, name: str) -> bytes:
        """The file that a person sees; FileNotFoundError if there is none."""
        ...

    def delete(self, run: DeployedRun) -> None:
        """As a person does it by hand."""
        ...


class InMemoryWorld:
    def __init__(self) -> None:
        self.log = InMemoryRunLog()

    def again(self) -> RunLog:
        return self.log

    def shown(self, run: DeployedRun) -> Shown:
        found = self.log.runs[int(run.id)]
        names = {name for point in found.points for name in point.metrics}
        curves = {
            name: [(point.at_ms, point.metrics[name]) for point in found.points if name in point.metrics]
            for name in names
        }
        return Shown(curves, dict(found.tags), found.in_service)

    def picture(self, run: DeployedRun, name: str) -> bytes:
        if name not in self.log.runs[int(run.id)].pictures:
            raise FileNotFoundError(name)
        return self.log.runs[int(run.id)].pictures[name]

    def delete(self, run: DeployedRun) -> None:
        self.log.runs[int(run.id)].deleted = True


class MlflowWorld:
    def __init__(self, uri: str, pipeline: str) -> None:
        self._settings = MlflowSettings(tracking_uri=uri, timeout_s=60.0)
        self._pipeline = pipeline
        self.client: Any = MlflowClient(uri)
        self.log = self.again()

    def again(self) -> RunLog:
        return MlflowRuns(self._settings, self._pipeline)

    def shown(self, run: DeployedRun) -> Shown:
        found = self.client.get_run(run.id)
        curves = {
            name: [(point.timestamp, point.value) for point in self.client.get_metric_history(run.id, name)]
            for name in found.data.metrics
        }
        tags = {name: text for name, text in found.data.tags.items() if name in ("alert", "note")}
        return Shown(curves, tags, found.info.status == "RUNNING")

    def picture(self, run: DeployedRun, name: str) -> bytes:
        folder = str(PurePosixPath(name).parent)
        if name not in [file.path for file in self.client.list_artifacts(run.id, folder)]:
            raise FileNotFoundError(name)
        with TemporaryDirectory() as work:
            return Path(self.client.download_artifacts(run.id, name, work)).read_bytes()

    def delete(self, run: DeployedRun) -> None:
        self.client.delete_run(run.id)


@pytest.fixture(params=["memory", pytest.param("mlflow", marks=pytest.mark.servers)])
def world(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> World:
    if request.param == "memory":
        return InMemoryWorld()
    return MlflowWorld(request.getfixturevalue("mlflow_uri"), unique("pump"))


def test_points_come_back_as_curves_and_the_same_ones_again_change_nothing(world: World) -> None:
    run = world.log.open(V1, BEGIN_MS)
    assert run.began_ms == BEGIN_MS
    points = [Point(BEGIN_MS, {"workers": 2.0}), Point(BEGIN_MS + 60_000, {"workers": 3.0, "lag": 5.0})]
    world.log.write(run, points)
    world.log.write(run, points)
    world.log.write(run, [Point(BEGIN_MS + 120_000, {"workers": 3.0})])
    shown = world.shown(run)
    assert shown.curves == {
        "workers": [(BEGIN_MS, 2.0), (BEGIN_MS + 60_000, 3.0), (BEGIN_MS + 120_000, 3.0)],
        "lag": [(BEGIN_MS + 60_000, 5.0)],
    }
    assert shown.in_service


def test_another_client_goes_on_in_the_same_run_with_its_begin_and_tags(world: World) -> None:
    run = world.log.open(V1, BEGIN_MS)
    world.log.tag(run, "alert", "drift")
    again = world.again().open(V1, BEGIN_MS + 5_000_000)
    assert (again.id, again.began_ms) == (run.id, run.began_ms)
    assert again.tags["alert"] == "drift"


def test_each_version_has_a_run_of_its_own(world: World) -> None:
    one, other = world.log.open(V1, BEGIN_MS), world.log.open(V2, BEGIN_MS)
    assert one.id != other.id
    world.log.write(other, [Point(BEGIN_MS, {"lag": 1.0})])
    assert world.shown(one).curves == {}


def test_a_tag_is_replaced_and_taken_away(world: World) -> None:
    run = world.log.open(V1, BEGIN_MS)
    world.log.tag(run, "alert", "drift")
    world.log.tag(run, "note", "kept")
    world.log.tag(run, "alert", "more drift")
    assert world.shown(run).tags == {"alert": "more drift", "note": "kept"}
    world.log.tag(run, "alert", "")
    world.log.tag(run, "alert", "")
    assert world.shown(run).tags == {"note": "kept"}


def test_a_version_out_of_service_comes_back_into_the_run_it_had(world: World) -> None:
    run = world.log.open(V1, BEGIN_MS)
    world.log.close(run)
    assert not world.shown(run).in_service
    world.log.tag(run, "note", "also afterwards")
    assert world.log.open(V1, BEGIN_MS + 60_000).id == run.id
    assert world.shown(run).in_service


def test_many_points_at_once_are_all_written(world: World) -> None:
    run = world.log.open(V1, BEGIN_MS)
    points = [Point(BEGIN_MS + 1000 * k, {"a": float(k), "b": 0.0, "c": 1.0}) for k in range(400)]
    world.log.write(run, points)
    assert [value for _, value in world.shown(run).curves["a"]] == [float(k) for k in range(400)]


def test_a_run_deleted_by_hand_refuses_points_and_opening_makes_another(world: World) -> None:
    run = world.log.open(V1, BEGIN_MS)
    world.delete(run)
    with pytest.raises((ModelError, TransientError)) as caught:
        world.log.write(run, [Point(BEGIN_MS, {"lag": 1.0})])
    assert isinstance(caught.value, ModelError)
    with pytest.raises(ModelError):
        world.log.picture(run, "worst/1.png", b"png")
    assert world.log.open(V1, BEGIN_MS).id != run.id


def test_a_picture_lies_in_its_folder_and_the_same_name_again_replaces_it(world: World) -> None:
    run = world.log.open(V1, BEGIN_MS)
    with pytest.raises(FileNotFoundError):
        world.picture(run, "worst/2026-11-28T03-00-00+00-00.png")
    world.log.picture(run, "worst/2026-11-28T03-00-00+00-00.png", b"first")
    world.log.picture(run, "worst/2026-11-28T03-00-00+00-00.png", b"second")
    world.log.picture(run, "worst/other.png", b"other")
    assert world.picture(run, "worst/2026-11-28T03-00-00+00-00.png") == b"second"
    assert world.picture(run, "worst/other.png") == b"other"

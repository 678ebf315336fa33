"""Retraining while MLflow fails at each of its steps: nothing that is half made serves, and the next one goes through.

MLflow and Redis are real ones; `FaultyMlflow` shuts the door in front of MLflow at a request of a kind.
"""

import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from mlflow import MlflowClient

from jobs.one_shot import RUN_KEY
from jobs.retrain import Outcome
from stream_ae.clock import SystemClock
from stream_ae.models.serialization import load, save
from stream_ae.ports import Desired
from stream_ae.records import ModelVersion
from stream_ae.registry.alias import AliasFollower
from stream_ae.registry.rollout import ROLLED_BACK
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import MlflowSettings, RedisSettings, TrainingSettings
from stream_ae.status import Health, WorkerStatus
from stream_ae.training import train
from tests.faulty_mlflow import Failing, FaultyMlflow
from tests.jobs.test_retrain import Retraining, waves

CLOCK = SystemClock()
TRAINING = TrainingSettings(window=8, max_epochs=1, threads=1, denoiser="autoencoder", model="dense")

LOOK_UP = r"GET .*/registered-models/get\?"
FETCH = r"GET .*/artifacts/.*/data/version/weights"
CREATE_VERSION = r"POST .*/model-versions/create"
ALIAS = r"POST .*/registered-models/alias"
STEPS = {
    "before the champion is looked up": LOOK_UP,
    "before its version is read": r"GET .*/model-versions/get\?",
    "while its files are listed": r"GET .*/artifacts\?path",
    "while it is fetched": FETCH,
    "before there is a run": r"POST .*/runs/create",
    "when there is a run": r"POST .*/runs/log-batch",
    "with its artefacts half up": r"PUT .*/data/version/config.json",
    "before they are declared whole": r"PATCH .*/logged-models",
    "before there is a version": CREATE_VERSION,
    "when there is a version": r"POST .*/runs/update",
    "before it is promoted": ALIAS,
}
FAILURES = [
    *(pytest.param(Failing.REFUSED, pattern, id=f"nobody listens {step}") for step, pattern in STEPS.items()),
    pytest.param(Failing.HANGING, CREATE_VERSION, id="does not answer before there is a version"),
    pytest.param(Failing.ERROR, FETCH, id="answers 500 while it is fetched"),
    pytest.param(Failing.ERROR, ALIAS, id="answers 500 before it is promoted"),
    pytest.param(Failing.LOST, CREATE_VERSION, id="dies when it has made the version"),
    pytest.param(Failing.LOST, ALIAS, id="dies when it has promoted it"),
]


class OnServers(Retraining):
    """A pipeline whose versions and announcements are on real servers, with version 1 in service."""

    def __init__(self, door: FaultyMlflow, redis_url: str, name: str, champion: Path) -> None:
        super().__init__()
        self.door, self.name = door, name
        self.settings = self.settings.model_copy(update={"training": TRAINING, "pipeline": name})
        self.mlflow = MlflowStore(MlflowSettings(tracking_uri=door.address, timeout_s=2.0), name)
        self.on_redis = RedisSignal(RedisSettings.model_validate({"url": redis_url}), name, CLOCK)
        self.world = replace(self.world, store=self.mlflow, signal=self.on_redis)
        self.first = self.mlflow.register(champion, {}, {})
        self.mlflow.promote("1")
        self.on_redis.announce(Desired(self.first.identity, 0, "the first"))
        self.send(waves(600))

    @property
    def champion(self) -> ModelVersion:
        champion = self.mlflow.champion()
        assert champion is not None
        return champion

    @property
    def desired(self) -> Desired:
        desired = self.on_redis.desired()
        assert desired is not None
        return desired

    def no_worker_comes_up(self) -> None:
        stubborn = WorkerStatus("w", Health.DEGRADED, self.first.identity, 0, 0, problems=("no memory",))
        self.on_redis.report(stubborn, 600.0)


@pytest.fixture(scope="module")
def champion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("champion")
    save(train([waves(600, first=5000)], ("a", "b"), TRAINING).detector, folder)
    return folder


@pytest.fixture
def door(mlflow_uri: str) -> Iterator[FaultyMlflow]:
    with FaultyMlflow(mlflow_uri) as door:
        yield door


@pytest.fixture
def retraining(
    door: FaultyMlflow, redis_url: str, unique: Callable[[str], str], champion_folder: Path
) -> Iterator[OnServers]:
    made = OnServers(door, redis_url, unique("pump"), champion_folder)
    yield made
    made.on_redis.close()


@pytest.mark.parametrize(("failing", "pattern"), FAILURES)
def test_mlflow_away_at_any_step_harms_nothing_in_service_and_the_next_retraining_goes_through(
    retraining: OnServers, tmp_path: Path, failing: Failing, pattern: str
) -> None:
    retraining.door.fail(failing, pattern)
    assert retraining.run() == Outcome.SERVER_AWAY
    assert retraining.door.struck
    assert retraining.said[-1].startswith("a server is away: MLflow at ")
    assert retraining.desired.model == retraining.first.identity
    retraining.door.heal()
    promoted = failing is Failing.LOST and pattern == ALIAS
    assert retraining.champion.version == ("2" if promoted else "1")
    _all_whole(retraining.mlflow.versions(), retraining.mlflow, tmp_path / "between")
    assert retraining.run() == Outcome.PROMOTED
    champion = retraining.champion
    assert champion.tags["stream_ae.parent_version"] == "1"
    assert retraining.desired.model == champion.identity
    # What was left whole is used again, not made twice.
    assert [version.version for version in retraining.mlflow.versions()] == ["1", champion.version]
    _all_whole([champion], retraining.mlflow, tmp_path / "after")


def _all_whole(versions: Sequence[ModelVersion], store: MlflowStore, folder: Path) -> None:
    """Whatever counts as a version can be loaded, and the first apart says what it was made of."""
    for version in versions:
        load(store.fetch(version.version, folder / version.version))
        assert version.version == "1" or RUN_KEY in version.tags


@pytest.mark.parametrize("pattern", [ALIAS, r"POST .*/model-versions/set-tag"], ids=["alias", "tag"])
def test_a_rollback_reaches_the_workers_while_mlflow_is_away_and_is_finished_when_it_is_back(
    retraining: OnServers, pattern: str
) -> None:
    retraining.no_worker_comes_up()
    # The first time the alias moves to version 2.
    retraining.door.fail(Failing.REFUSED, pattern, nth=2 if pattern == ALIAS else 1)
    assert retraining.run() == Outcome.SERVER_AWAY
    assert retraining.desired.model == retraining.first.identity
    assert retraining.desired.reason.startswith("version 2 rolled back: after 5 s")
    retraining.door.heal()
    follower = AliasFollower(retraining.on_redis, CLOCK)
    for _ in range(3):
        assert follower.look(retraining.champion, retraining.desired) == retraining.desired
    assert retraining.run() == Outcome.NOT_PROMOTED
    assert (
        "version 2 was made of the same, and it is left at that: version 2 rolled back: after 5 s"
        in retraining.said[-1]
    )
    assert retraining.champion.version == "1"
    assert retraining.desired.model == retraining.first.identity


def test_a_version_promoted_but_not_announced_is_rolled_back_to_what_the_workers_run(retraining: OnServers) -> None:
    retraining.door.fail(Failing.LOST, ALIAS)
    assert retraining.run() == Outcome.SERVER_AWAY
    retraining.door.heal()
    retraining.no_worker_comes_up()
    assert retraining.run() == Outcome.ROLLED_BACK
    assert retraining.champion.version == "1"
    assert "no memory" in retraining.mlflow.versions()[1].tags[ROLLED_BACK]


def test_a_redis_that_is_wiped_during_a_retraining_costs_nothing(retraining: OnServers, redis_url: str) -> None:
    wiped = threading.Event()

    class Wiping(MlflowStore):
        def promote(self, version: str) -> ModelVersion:
            with redis.Redis.from_url(redis_url) as client:
                client.delete(*client.keys(f"stream-ae:{{{retraining.name}}}:*"))
            wiped.set()
            return super().promote(version)

    store = Wiping(MlflowSettings(tracking_uri=retraining.door.address, timeout_s=60.0), retraining.name)
    retraining.world = replace(retraining.world, store=store)
    assert retraining.run() == Outcome.PROMOTED
    assert wiped.is_set()
    assert retraining.champion.version == "2"
    assert retraining.desired.model == retraining.champion.identity


def test_a_champion_deleted_by_hand_is_not_compared_with_and_the_reason_is_said(
    retraining: OnServers, mlflow_uri: str
) -> None:
    client: Any = MlflowClient(mlflow_uri)
    client.delete_model_version(retraining.name, "1")
    assert retraining.run() == Outcome.PROMOTED
    assert retraining.said[0] == "version 1 was announced and MLflow has no champion: nothing is compared with"
    assert retraining.champion.tags["stream_ae.parent_version"] == "none"
    assert retraining.champion.tags["stream_ae.verdict"].startswith("the first version")
    assert retraining.desired.model == retraining.champion.identity


def test_a_champion_whose_files_are_gone_is_not_compared_with_and_the_reason_is_said(
    retraining: OnServers, mlflow_uri: str
) -> None:
    client: Any = MlflowClient(mlflow_uri)
    version = client.get_model_version(retraining.name, "1")
    model = client.get_logged_model(version.source.rpartition("/")[2])
    place = model.artifact_location.removeprefix("mlflow-artifacts:/")
    deletion = urllib.request.Request(f"{mlflow_uri}/api/2.0/mlflow-artifacts/artifacts/{place}", method="DELETE")
    urllib.request.urlopen(deletion, timeout=60).close()
    assert retraining.run() == Outcome.PROMOTED
    assert retraining.said[0].startswith("champion 1 cannot be loaded and is not compared with: the files of version 1")
    assert retraining.champion.version == "2"

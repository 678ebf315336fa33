"""Learning profiles: one shot, idempotent, locked; the exit code says how it ended."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.adapt import Outcome, Progress, Registry, World, adapt, learn_anew
from stream_ae.errors import ModelError
from stream_ae.flow import profile_folder
from stream_ae.flow.profiles import Profiles
from stream_ae.models.detector import Detector
from stream_ae.models.serialization import load, save
from stream_ae.ports import Desired
from stream_ae.records import Float32, ModelVersion
from stream_ae.settings import AdaptSettings, Settings, TrainingSettings
from stream_ae.testing import InMemoryBroker, InMemoryReader, InMemoryRedis, InMemorySignal, InMemoryStore, ManualClock
from stream_ae.training import train
from tests.jobs.asleep import AsleepWhenItRegisters

START_MS = 1_700_000_000_000


def waves(count: int, seed: int = 0, noise: float = 0.05, centre: float = 0.0) -> Float32:
    generator = np.random.default_rng(seed)
    rows = np.sin(np.arange(count)[:, None] / np.array([3.0, 5.0])) + generator.normal(0, noise, (count, 2)) + centre
    found: Float32 = rows.astype(np.float32)
    return found


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save(train([waves(1000)], ("a", "b"), TrainingSettings(window=8, max_epochs=3, threads=1)).detector, folder)
    return folder


class Learning:
    """A pipeline in memory, as the job sees it, with one model in service."""

    def __init__(self, model_folder: Path, tmp_path: Path) -> None:
        self.clock = ManualClock(START_MS, moves_itself=True)
        self.tmp_path = tmp_path
        self.settings = Settings(pipeline="pump", training=TrainingSettings(window=8))
        self.broker = InMemoryBroker(self.clock)
        for topic in ("raw", "flagged"):
            self.broker.create_topic(topic, partitions=2)
        self.redis = InMemoryRedis(self.clock)
        names = (self.settings.pipeline, self.settings.profiles)
        self.models, self.profiles = (
            Registry(InMemoryStore(self.clock, name), InMemorySignal(self.redis, name)) for name in names
        )
        self.world = World(InMemoryReader(self.broker), self.models, self.profiles, self.clock)
        self.said: list[str] = []
        self.model = self.models.store.register(model_folder, {}, {})
        self.models.store.promote(self.model.version)

    def send(self, x: Float32, stream: str = "s", partition: int = 0) -> None:
        for row in x:
            self.clock.advance(1)
            second = self.clock.wall_ms() // 1000
            value = {"stream": stream, "timestamp": second, "values": {"a": float(row[0]), "b": float(row[1])}}
            self.broker.append("raw", json.dumps(value).encode(), partition=partition, timestamp_ms=second * 1000)

    def run(self) -> Outcome:
        return adapt(self.world, self.settings, Progress(self.said.append, lambda done, total: None))

    def newest(self) -> Profiles:
        version = self.champion
        return profile_folder.load(self.profiles.store.fetch(version.version, self.tmp_path / version.version))

    @property
    def champion(self) -> ModelVersion:
        champion = self.profiles.store.champion()
        assert champion is not None
        return champion

    def detector(self) -> Detector:
        folder = self.models.store.fetch("1", self.tmp_path / "model")
        return load(folder).with_identity(self.model.identity)


@pytest.fixture
def learning(model_folder: Path, tmp_path: Path) -> Learning:
    return Learning(model_folder, tmp_path)


def test_the_profiles_of_all_streams_with_enough_rows_are_registered_and_announced(learning: Learning) -> None:
    learning.send(waves(300, 1), "calm")
    learning.send(waves(300, 2, centre=4.0), "drifted", partition=1)
    learning.send(waves(100, 3), "new")
    assert learning.run() == Outcome.PUBLISHED
    profiles = learning.newest()
    assert profiles.streams == ("calm", "drifted")
    assert profiles.threshold[1] > profiles.threshold[0]
    desired = learning.profiles.signal.desired()
    assert desired is not None
    assert desired.model == learning.champion.identity
    assert learning.champion.name == "pump-profiles"


def test_profiles_are_bound_to_the_model_that_workers_run(learning: Learning) -> None:
    learning.send(waves(300))
    learning.run()
    assert learning.newest().model == learning.model.identity
    assert learning.newest().fits(learning.detector())
    assert learning.champion.tags["stream_ae.model"] == "pump/1"
    assert learning.champion.tags["stream_ae.offsets"] == "0:0-300"


def test_what_workers_flagged_is_not_left_out(learning: Learning) -> None:
    learning.send(waves(300))
    for offset in range(50, 300):
        event = {"state": "ongoing", "source": {"topic": "raw", "partition": 0, "offset": offset}}
        learning.broker.append("flagged", json.dumps(event).encode(), partition=0)
    assert learning.run() == Outcome.PUBLISHED
    assert "collected 300 samples" in learning.said[0]


def test_records_older_than_the_span_do_not_count(learning: Learning) -> None:
    learning.settings = learning.settings.model_copy(update={"adapt": AdaptSettings(span_s=250.0)})
    learning.send(waves(300), "old")
    learning.send(waves(250), "recent")
    assert learning.run() == Outcome.PUBLISHED
    assert learning.newest().streams == ("recent",)


def test_a_second_run_on_the_same_span_does_nothing_but_say_again_what_redis_forgot(learning: Learning) -> None:
    learning.send(waves(300))
    learning.run()
    learning.redis.wipe()
    for _ in range(2):
        assert learning.run() == Outcome.PUBLISHED
        assert len(learning.profiles.store.versions()) == 1
        assert len(learning.profiles.signal.history()) == 1
    assert "nothing to do" in learning.said[-1]


def test_new_records_make_a_second_version(learning: Learning) -> None:
    learning.send(waves(300))
    learning.run()
    learning.send(waves(300, 1, noise=0.3))
    assert learning.run() == Outcome.PUBLISHED
    assert learning.champion.version == "2"


def test_a_new_model_makes_new_profiles_of_the_same_records(learning: Learning, tmp_path: Path) -> None:
    learning.send(waves(300))
    learning.run()
    other = tmp_path / "other"
    save(train([waves(1000, 5)], ("a", "b"), TrainingSettings(window=8, max_epochs=1, threads=1)).detector, other)
    second = learning.models.store.register(other, {}, {})
    learning.models.signal.announce(Desired(second.identity, learning.clock.wall_ms()))
    assert learning.run() == Outcome.PUBLISHED
    assert learning.newest().model == second.identity


def test_profiles_that_came_out_as_before_make_no_new_version(learning: Learning) -> None:
    learning.send(waves(300, noise=0.0), "calm")
    learning.run()
    learning.send(waves(100), "too short to count")
    assert learning.run() == Outcome.PUBLISHED
    assert len(learning.profiles.store.versions()) == 1


@pytest.mark.parametrize("rows", [0, 199])
def test_too_few_rows_are_refused_with_the_reason(learning: Learning, rows: int) -> None:
    learning.send(waves(rows))
    assert learning.run() == Outcome.UNUSABLE_DATA
    assert "no stream has 200 rows" in learning.said[-1]
    assert learning.profiles.store.versions() == []


def test_without_a_model_there_is_nothing_to_learn_with(learning: Learning) -> None:
    learning.send(waves(300))
    learning.world = World(
        learning.world.reader, Registry(InMemoryStore(learning.clock), InMemorySignal(learning.redis, "none")),
        learning.profiles, learning.clock,
    )  # fmt: skip
    assert learning.run() == Outcome.UNUSABLE_DATA
    assert "there is no model yet" in learning.said[-1]


def test_a_model_whose_files_were_changed_is_not_learnt_with(learning: Learning) -> None:
    learning.send(waves(300))
    changed = ModelVersion("pump", "1", "0" * 64, 0)
    learning.models.signal.announce(Desired(changed.identity, 0))
    assert learning.run() == Outcome.UNUSABLE_DATA
    assert "digest" in learning.said[-1]


def test_two_runs_at_once_are_one(learning: Learning) -> None:
    learning.send(waves(300))
    with InMemorySignal(learning.redis, "pump-profiles").lock("adapt", 30.0):
        assert learning.run() == Outcome.LOCKED
    assert learning.run() == Outcome.PUBLISHED


def test_a_run_whose_lease_another_one_took_leaves_everything_as_it_is(learning: Learning) -> None:
    learning.send(waves(300))
    others = InMemorySignal(learning.redis, "pump-profiles")
    store = AsleepWhenItRegisters(learning.clock, learning.redis, others, "adapt")
    learning.world = replace(learning.world, profiles=replace(learning.profiles, store=store))
    assert learning.run() == Outcome.LOCKED
    assert len(store.versions()) == 1
    assert store.champion() is None
    assert others.desired() is None


def test_a_server_that_is_away_is_an_exit_code_not_a_crash(learning: Learning) -> None:
    learning.send(waves(300))
    assert isinstance(learning.models.store, InMemoryStore)
    learning.models.store.away()
    assert learning.run() == Outcome.SERVER_AWAY
    learning.models.store.back()
    learning.redis.away()
    assert learning.run() == Outcome.SERVER_AWAY


class Refusing(InMemoryStore):
    """Takes nothing new."""

    def register(self, *_: object, **__: object) -> ModelVersion:
        raise ModelError("not permitted")


class Forbidden(InMemoryStore):
    """Tells nothing."""

    def champion(self) -> ModelVersion | None:
        raise ModelError("not permitted")


class FullDisk(InMemoryStore):
    """Where the folder of a version is copied to, there is no room."""

    def register(self, *_: object, **__: object) -> ModelVersion:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("store", [Refusing, FullDisk])
def test_profiles_that_cannot_be_kept_are_an_exit_code_not_a_crash(
    learning: Learning, store: type[InMemoryStore]
) -> None:
    learning.send(waves(300))
    there = replace(learning.profiles, store=store(learning.clock, "pump-profiles"))
    learning.world = replace(learning.world, profiles=there)
    assert learning.run() == Outcome.SERVER_AWAY


def test_a_retraining_does_not_fail_because_nothing_is_told_of_profiles(learning: Learning) -> None:
    there = replace(learning.profiles, store=Forbidden(learning.clock, "pump-profiles"))
    world = replace(learning.world, profiles=there)
    learn_anew(world, learning.settings, Progress(learning.said.append, lambda done, total: None))
    assert learning.said == ["the version is in service, but no profiles were learnt for it: not permitted"]

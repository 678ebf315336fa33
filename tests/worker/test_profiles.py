"""A worker's profiles come and go like its model, beside it and without holding it up."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stream_ae.flow import profile_folder
from stream_ae.flow.profiles import Profiles
from stream_ae.ports import Desired
from stream_ae.records import ModelIdentity, ModelVersion
from stream_ae.registry.cache import VersionCache
from stream_ae.settings import Settings
from stream_ae.status import Health
from stream_ae.testing import InMemoryRedis, InMemorySignal, InMemoryStore, ManualClock
from stream_ae.worker.reconcile import Reconciler, VersionWorld
from stream_ae.worker.reload import ProfileService
from tests.worker.fakes import MeanModel, OneWorker, broker_with_topics, sample


def profiles_of(model: MeanModel, threshold: float) -> Profiles:
    """Of the stream `s`."""
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    unnamed, cleaned = ModelIdentity("unregistered", "0", ""), np.zeros((1, 1), np.int8)
    ours = ("s",), zero[None], one[None], np.array([threshold]), cleaned
    return Profiles(unnamed, model.identity, model.channels, zero, one, *ours)


class Adapting:
    """A worker in memory with a store and a signal for its profiles."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(moves_itself=True)
        self.folder = folder
        settings = Settings(pipeline="pump")
        self.store = InMemoryStore(self.clock, settings.profiles)
        self.redis = InMemoryRedis(self.clock)
        self.signal = InMemorySignal(self.redis, settings.profiles)
        self.broker = broker_with_topics(self.clock, settings.topics)
        self.one = OneWorker(self.broker, self.clock, settings)
        self.model = MeanModel()
        self.reconciler = self.started_anew()
        self.sent = 0

    def started_anew(self) -> Reconciler:
        world = VersionWorld(self.store, self.signal, VersionCache(self.folder / "cache"))
        service = ProfileService(self.one.slot, self.one.board, self.one.metrics)
        return Reconciler(world, service, self.one.board, self.clock)

    def register(self, threshold: float, model: MeanModel | None = None) -> ModelVersion:
        folder = self.folder / f"version-{len(self.store.versions())}"
        profile_folder.save(profiles_of(model or self.model, threshold), folder)
        return self.store.register(folder, {}, {})

    def announce(self, version: ModelVersion) -> None:
        self.signal.announce(Desired(version.identity, self.clock.wall_ms()))
        self.clock.advance(0.001)

    def send(self, *values: float) -> None:
        for value in values:
            self.broker.append("raw", sample(value, self.sent), partition=0)
            self.sent += 1
        self.one.turn_until(lambda: self.one.committed() == self.sent)

    def judged(self) -> Sequence[tuple[float, str | None]]:
        """Threshold and profile of every flagged record."""
        events = [json.loads(record.value or b"") for record in self.broker.records("flagged")]
        return [(event["threshold"], event["profile"]) for event in events]

    @property
    def in_service(self) -> str | None:
        profiles = self.one.slot.profiles
        return profiles.identity.version if profiles is not None else None

    @property
    def problems(self) -> tuple[str, ...]:
        return self.one.board.snapshot().problems


@pytest.fixture
def adapting(tmp_path: Path) -> Adapting:
    return Adapting(tmp_path)


def test_announced_profiles_are_in_service_from_the_next_batch_on(adapting: Adapting) -> None:
    adapting.one.join(adapting.model)
    adapting.send(0.0, 100.0)
    for threshold in (1.0, 2.0):
        adapting.announce(adapting.register(threshold))
        adapting.reconciler.reconcile()
        adapting.send(200.0)
    assert adapting.judged() == [(10.0, None), (1.0, "1"), (2.0, "2")]
    assert adapting.one.board.snapshot().profiles == adapting.store.versions()[1].identity
    assert adapting.one.metrics.profile_reloads._value.get() == 2


def test_profiles_of_another_model_are_ignored_until_those_of_the_model_in_service_come(adapting: Adapting) -> None:
    adapting.one.join(adapting.model)
    adapting.announce(adapting.register(1.0))
    adapting.reconciler.reconcile()
    second = MeanModel("2")
    adapting.one.use(second)
    adapting.send(0.0, 100.0)
    adapting.announce(adapting.register(2.0, second))
    adapting.reconciler.reconcile()
    adapting.send(200.0)
    assert adapting.judged() == [(10.0, None), (2.0, "2")]


def test_profiles_that_cannot_be_read_are_refused_and_the_old_ones_go_on(adapting: Adapting, tmp_path: Path) -> None:
    adapting.one.join(adapting.model)
    adapting.announce(adapting.register(1.0))
    adapting.reconciler.reconcile()
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / "config.json").write_text("{}")
    adapting.announce(adapting.store.register(tmp_path / "spoilt", {}, {}))
    adapting.reconciler.reconcile()
    assert adapting.in_service == "1"
    assert adapting.problems[0].startswith("profiles: version 2 refused: ")
    assert adapting.one.board.snapshot().health == Health.DEGRADED
    assert adapting.one.metrics.profile_reload_failures._value.get() == 1


@pytest.mark.parametrize("server", ["redis", "store"])
def test_a_server_away_leaves_the_profiles_in_service_and_the_status_says_why(adapting: Adapting, server: str) -> None:
    adapting.one.join(adapting.model)
    adapting.announce(adapting.register(1.0))
    adapting.reconciler.reconcile()
    away = adapting.redis if server == "redis" else adapting.store
    away.away()
    adapting.reconciler.reconcile()
    adapting.send(0.0, 100.0)
    assert adapting.judged() == [(1.0, "1")]
    assert any("away" in problem for problem in adapting.problems)
    away.back()
    adapting.reconciler.reconcile()
    assert adapting.problems == ()


def test_with_both_servers_away_the_last_profiles_that_worked_here_are_served(adapting: Adapting) -> None:
    adapting.announce(adapting.register(1.0))
    adapting.reconciler.reconcile()
    adapting.one.slot.profiles = None
    adapting.redis.away()
    adapting.store.away()
    adapting.started_anew().reconcile()
    assert adapting.in_service == "1"


def test_a_wiped_redis_leaves_it_to_the_newest_profiles_in_the_store(adapting: Adapting) -> None:
    version = adapting.register(1.0)
    adapting.store.promote(version.version)
    adapting.redis.wipe()
    adapting.reconciler.reconcile()
    assert adapting.in_service == version.version


def test_a_pipeline_without_profiles_is_well(adapting: Adapting) -> None:
    adapting.one.join(adapting.model)
    adapting.reconciler.reconcile()
    assert (adapting.in_service, adapting.problems) == (None, ())
    assert adapting.one.board.snapshot().health == Health.RUNNING

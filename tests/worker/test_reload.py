"""Bringing the model in service to the desired version; whatever goes wrong, the old one goes on."""

import threading
from pathlib import Path

import numpy as np
import pytest

from stream_ae.errors import ModelError
from stream_ae.ports import Desired
from stream_ae.records import Float32, Inference, ModelIdentity, ModelVersion
from stream_ae.registry.cache import VersionCache
from stream_ae.settings import BatchSettings, Settings
from stream_ae.status import Health
from stream_ae.telemetry import WorkerMetrics
from stream_ae.testing import InMemoryRedis, InMemorySignal, InMemoryStore, ManualClock
from stream_ae.worker.reconcile import GONE, Reconciler, VersionWorld
from stream_ae.worker.reload import LoadModel, ModelService
from stream_ae.worker.slot import ModelSlot
from stream_ae.worker.status import StatusBoard
from tests.worker.fakes import MeanModel


class BrokenModel(MeanModel):
    """Answers with what is not a number."""

    def infer(self, windows: Float32) -> Inference:
        answer = super().infer(windows)
        return Inference(answer.x_hat * np.nan, answer.score, answer.p_value, answer.share)


class Reloading:
    """A reloader on a store and a Redis in memory; version folders say which model they stand for."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(moves_itself=True)
        self.folder = folder
        self.store = InMemoryStore(self.clock, "pump")
        self.redis = InMemoryRedis(self.clock)
        self.signal = InMemorySignal(self.redis, "pump")
        self.cache = VersionCache(folder / "cache")
        self.reloader = self.started_anew()

    def started_anew(self) -> Reconciler:
        self.slot = ModelSlot()
        self.board = StatusBoard("w", self.clock)
        self.metrics = WorkerMetrics()
        self.reloader = self.reconciler(self.signal, self.load)
        return self.reloader

    def reconciler(self, signal: InMemorySignal, load: LoadModel) -> Reconciler:
        world = VersionWorld(self.store, signal, self.cache)
        service = ModelService(self.slot, self.board, self.metrics, load, Settings(batch=BatchSettings(max_records=8)))
        return Reconciler(world, service, self.board, self.clock)

    @staticmethod
    def load(folder: Path, identity: ModelIdentity) -> MeanModel:
        kind = (folder / "kind").read_text().split("#")[0]
        if kind == "unreadable":
            raise ModelError("the weights are truncated: register the version again")
        channels = ("a", "b") if kind == "two channels" else ("a",)
        model = BrokenModel(channels=channels) if kind == "broken" else MeanModel(channels=channels)
        model.identity = identity
        return model

    def register(self, kind: str = "good") -> ModelVersion:
        folder = self.folder / f"version-{len(self.store.versions())}"
        folder.mkdir()
        (folder / "kind").write_text(f"{kind}#{folder.name}")
        return self.store.register(folder, {}, {})

    def announce(self, version: ModelVersion) -> None:
        self.signal.announce(Desired(version.identity, self.clock.wall_ms()))
        self.clock.advance(0.001)

    @property
    def in_service(self) -> str | None:
        return self.slot.model.identity.version if self.slot.model is not None else None

    @property
    def problems(self) -> tuple[str, ...]:
        return self.board.snapshot().problems


@pytest.fixture
def reloading(tmp_path: Path) -> Reloading:
    return Reloading(tmp_path)


def test_the_desired_version_comes_before_the_champion(reloading: Reloading) -> None:
    champion, desired = reloading.register(), reloading.register()
    reloading.store.promote(champion.version)
    reloading.announce(desired)
    reloading.reloader.reconcile()
    assert reloading.in_service == desired.version


def test_without_a_desired_version_the_champion_is_served(reloading: Reloading) -> None:
    champion = reloading.register()
    reloading.register()
    reloading.store.promote(champion.version)
    reloading.reloader.reconcile()
    assert reloading.in_service == champion.version


def test_with_both_servers_away_the_last_version_that_worked_here_is_served(reloading: Reloading) -> None:
    version = reloading.register()
    reloading.announce(version)
    reloading.reloader.reconcile()
    reloading.store.away()
    reloading.redis.away()
    reloading.started_anew().reconcile()
    assert reloading.in_service == version.version
    assert reloading.board.snapshot().health == Health.DEGRADED


def test_with_nothing_to_serve_the_worker_waits(reloading: Reloading) -> None:
    reloading.reloader.reconcile()
    assert reloading.in_service is None
    assert reloading.board.snapshot().health == Health.WAITING


def test_a_new_version_is_swapped_in_and_an_old_one_back(reloading: Reloading) -> None:
    first, second = reloading.register(), reloading.register()
    for version in (first, second, first):
        reloading.announce(version)
        reloading.reloader.reconcile()
        assert reloading.in_service == version.version
    assert reloading.metrics.reloads._value.get() == 3


def test_the_version_in_service_is_not_loaded_again(reloading: Reloading) -> None:
    version = reloading.register()
    reloading.announce(version)
    reloading.reloader.reconcile()
    model = reloading.slot.model
    reloading.announce(version)
    reloading.reloader.reconcile()
    assert reloading.slot.model is model


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("unreadable", "truncated"), ("broken", "not finite"), ("two channels", "it is for channels a, b")],
)
def test_a_version_that_cannot_serve_is_refused_once_and_the_old_one_goes_on(
    reloading: Reloading, kind: str, reason: str
) -> None:
    good, bad = reloading.register(), reloading.register(kind)
    reloading.announce(good)
    reloading.reloader.reconcile()
    reloading.announce(bad)
    for _ in range(3):
        reloading.reloader.reconcile()
    assert reloading.in_service == good.version
    assert reason in reloading.problems[0]
    assert reloading.board.snapshot().health == Health.DEGRADED
    assert reloading.metrics.reload_failures._value.get() == 1
    reloading.announce(good)
    reloading.reloader.reconcile()
    assert reloading.problems == ()


def test_a_refused_version_is_tried_again_when_it_is_announced_again(reloading: Reloading) -> None:
    bad = reloading.register("broken")
    for failures in (1, 2):
        reloading.announce(bad)
        reloading.reloader.reconcile()
        assert reloading.metrics.reload_failures._value.get() == failures


def test_a_version_whose_files_were_changed_in_the_store_is_refused(reloading: Reloading) -> None:
    good = reloading.register()
    reloading.announce(ModelVersion("pump", good.version, "0" * 64, 0))
    reloading.reloader.reconcile()
    assert reloading.in_service is None
    assert "digest" in reloading.problems[0]


def test_a_version_that_cannot_be_fetched_yet_is_fetched_when_the_store_is_back(reloading: Reloading) -> None:
    first, second = reloading.register(), reloading.register()
    reloading.announce(first)
    reloading.reloader.reconcile()
    reloading.store.away()
    reloading.announce(second)
    reloading.reloader.reconcile()
    assert reloading.in_service == first.version
    assert reloading.board.snapshot().health == Health.DEGRADED
    reloading.store.back()
    reloading.reloader.reconcile()
    assert reloading.in_service == second.version
    assert reloading.board.snapshot().health == Health.RUNNING


def test_a_worker_that_starts_on_a_version_that_cannot_be_had_serves_what_worked_here_last(
    reloading: Reloading,
) -> None:
    first, second = reloading.register(), reloading.register()
    reloading.announce(first)
    reloading.reloader.reconcile()
    reloading.announce(second)
    reloading.store.away()
    reloading.started_anew().reconcile()
    assert reloading.in_service == first.version
    assert any("version 2 cannot be fetched yet" in problem for problem in reloading.problems)
    reloading.store.back()
    reloading.reloader.reconcile()
    assert reloading.in_service == second.version
    assert reloading.problems == ()


def test_a_champion_that_is_deleted_by_hand_is_missed_until_there_is_another(reloading: Reloading) -> None:
    first, second = reloading.register(), reloading.register()
    reloading.store.promote(first.version)
    reloading.announce(first)
    reloading.reloader.reconcile()
    reloading.store.delete(first.version)
    reloading.reloader.reconcile()
    assert reloading.in_service == first.version
    assert reloading.problems == (GONE,)
    reloading.store.promote(second.version)
    for _ in range(3):
        reloading.reloader.reconcile()
    assert reloading.in_service == second.version
    assert reloading.board.snapshot().health == Health.RUNNING


def test_redis_away_degrades_and_changes_nothing(reloading: Reloading) -> None:
    version = reloading.register()
    reloading.announce(version)
    reloading.reloader.reconcile()
    reloading.redis.away()
    reloading.reloader.reconcile()
    assert reloading.in_service == version.version
    assert any("Redis is away" in problem for problem in reloading.problems)
    reloading.redis.back()
    reloading.reloader.reconcile()
    assert reloading.problems == ()


def test_redis_away_does_not_bring_back_a_version_whose_rollback_mlflow_has_not_heard_of(reloading: Reloading) -> None:
    good, bad = reloading.register(), reloading.register()
    reloading.store.promote(bad.version)
    reloading.announce(bad)
    reloading.reloader.reconcile()
    reloading.signal.announce(Desired(good.identity, reloading.clock.wall_ms(), "too many flags", bad.digest))
    reloading.reloader.reconcile()
    assert reloading.in_service == good.version
    reloading.redis.away()
    for _ in range(3):
        reloading.reloader.reconcile()
    assert reloading.in_service == good.version
    # Somebody has gone on from there meanwhile.
    third = reloading.register()
    reloading.store.promote(third.version)
    reloading.reloader.reconcile()
    assert reloading.in_service == third.version


def test_a_candidate_is_tried_on_the_last_real_batch(reloading: Reloading) -> None:
    class FailsOnReal(MeanModel):
        def infer(self, windows: Float32) -> Inference:
            answer = super().infer(windows)
            bad = np.where(np.isnan(windows).all(axis=(1, 2)), 1.0, np.nan).astype(np.float32)
            return Inference(answer.x_hat * bad[:, None], answer.score, answer.p_value, answer.share)

    first, second = reloading.register(), reloading.register()
    reloading.announce(first)
    reloading.reloader.reconcile()
    reloading.slot.recent_windows = np.ones((2, 1, 4), np.float32)
    reloader = reloading.reconciler(reloading.signal, lambda folder, identity: FailsOnReal())
    reloading.announce(second)
    reloader.reconcile()
    assert reloading.in_service == first.version
    assert "2 test windows" in reloading.problems[0]


class DeafSignal(InMemorySignal):
    """Every nudge is lost on the way."""

    def wait(self, timeout_s: float) -> bool:
        super().wait(timeout_s)
        return False


def test_the_thread_reconciles_on_the_timer_though_every_nudge_is_lost(reloading: Reloading) -> None:
    reloader = reloading.reconciler(DeafSignal(reloading.redis, "pump"), reloading.load)
    version = reloading.register()
    stop = threading.Event()
    thread = threading.Thread(target=reloader.run, args=(stop, 1.0))
    thread.start()
    reloading.announce(version)
    assert reloading.slot.filled.wait(30)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert reloading.in_service == version.version

"""The scene of a model's life: drift is noticed and learnt, a bad training is refused, a wrong one is taken back.

Nothing here touches a model: the monitor starts the retraining, the gate refuses, the watch rolls back.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream_ae.cli.audit import Audited, run_audit
from stream_ae.cli.demo.feed import LiveFeed
from stream_ae.cli.demo.screen import Screen
from stream_ae.cli.demo.world import World, pipeline_of_its_own
from stream_ae.configuration import load
from stream_ae.errors import LockHeldError
from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.kafka.driver import open_reader
from stream_ae.localdev import sample_data
from stream_ae.localdev.replay import batches
from stream_ae.localdev.sample_data import Machine
from stream_ae.ports import ModelSignal, ModelStore
from stream_ae.records import ModelVersion
from stream_ae.registry.experiment import experiment_id
from stream_ae.registry.rollout import ROLLED_BACK as ROLLED_BACK_TAG
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.registry.tracking import bounded, connect
from stream_ae.settings import Settings
from stream_ae.tables import Series

PIPELINE = "demo-life"
MACHINES = ("omi-1", "omi-2")
TRAIN_ROWS = 4000
RATE = 400.0
STEP_TIMEOUT_S = 600.0
LAB = "life-lab"
# Another unit of measurement: whatever was learnt of such readings, the plant's own are all wrong to it.
LAB_UNIT = np.float32(1.5)
LAB_ROWS = 3000
PROMOTED, NOT_PROMOTED, ROLLED_BACK = 0, 3, 6
OPTIONS = {
    **pipeline_of_its_own(PIPELINE, "life"),
    "STREAM_AE_TRAINING__DENOISER": "autoencoder",
    "STREAM_AE_TRAINING__MAX_EPOCHS": "4",
    "STREAM_AE_RETRAIN__TOLERANCE": "0.05",
    "STREAM_AE_RETRAIN__WATCH_S": "8",
    # Hours in seconds. A thousand samples of two real servers differ by .3 from one part of a week to another.
    "STREAM_AE_MONITOR__EVERY_S": "1",
    "STREAM_AE_MONITOR__DRIFT_PSI": "1.0",
    # The scores decide here: rounded readings are others as soon as there is noise on them, before enough is aged.
    "STREAM_AE_MONITOR__INPUT_DRIFT_PSI": "",
    # By then what the newest fifth of the readings holds, on which a version is calibrated, is the aged sensors'.
    "STREAM_AE_MONITOR__DRIFT_LOOKS": "20",
    "STREAM_AE_MONITOR__DRIFT_SAMPLES": "1000",
    "STREAM_AE_MONITOR__RETRAIN_ON_DRIFT": "true",
}
# A learning rate at which nothing is learnt, in one epoch.
CUT_SHORT = {"STREAM_AE_TRAINING__LEARNING_RATE": "0.000001", "STREAM_AE_TRAINING__MAX_EPOCHS": "1"}


@dataclass(frozen=True, slots=True)
class Lived:
    """What became of each version, by number.

    relearnt_s:  from the first aged reading to the workers on the version that has learnt them.
    refused:     the gate's sentence about the training that was cut short.
    taken_back:  why the version of the wrong topic was rolled back.
    champion:    the version in service at the end.
    audited:     of everything that the servers sent meanwhile.
    """

    relearnt_s: float
    refused: str
    taken_back: str
    champion: str
    audited: Audited


@dataclass(frozen=True, slots=True)
class _Place:
    """What the acts share."""

    world: World
    screen: Screen
    settings: Settings
    store: ModelStore
    signal: ModelSignal
    feed: LiveFeed


def live(world: World, screen: Screen) -> Lived:
    """Four versions of one model, while its servers go on reporting."""
    chosen = load(environment=world.environment | OPTIONS).settings
    create_topics(chosen.kafka, [TopicSpec(name, 1) for name in (*chosen.topics.names(), LAB)])
    machines = sample_data.load(MACHINES)
    with _in_service(world, screen, chosen, machines) as place:
        relearnt_s = _drift(place)
        refused = _cut_short(place)
        taken_back = _wrong_topic(place, machines)
        champion = place.store.champion()
    world.wait_until(lambda: not world.lag(chosen), "answering the rest", STEP_TIMEOUT_S)
    with closing(open_reader(chosen.kafka, world.clock)) as reader:
        audited = run_audit(reader, chosen, world.clock, wait_s=0.0)
    return Lived(relearnt_s, refused, taken_back, champion.version if champion else "", audited)


@contextmanager
def _in_service(world: World, screen: Screen, chosen: Settings, machines: list[Machine]) -> Iterator[_Place]:
    """Version 1 trained, a worker and the monitor up, the servers reporting."""
    feed = LiveFeed(chosen, world.clock, machines, TRAIN_ROWS, RATE)
    with ExitStack() as stack:
        signal = stack.enter_context(closing(RedisSignal(chosen.redis, chosen.pipeline, world.clock)))
        place = _Place(world, screen, chosen, MlflowStore(chosen.mlflow, chosen.pipeline), signal, feed)
        with screen.step("life of a model: training version 1") as step:
            world.send(chosen, batches(_laid_out(world, machines, TRAIN_ROWS), chosen.topics.raw))
            _retrained(place, "life-retrain-1", {}, PROMOTED)
            worker = world.spawn("life-worker", ["worker"], **OPTIONS, STREAM_AE_WORKER__NAME="life-worker")
            world.wait_until(lambda: _runs(place, "1"), "the scene's worker", STEP_TIMEOUT_S, [worker])
            world.wait_until(lambda: not world.lag(chosen), "catching up", STEP_TIMEOUT_S, [worker])
            world.spawn("life-monitor", ["monitor"], **OPTIONS)
            step.done = f"life of a model: version 1 serves {len(machines)} servers, the monitor writes to MLflow"
        feed.start()
        stack.callback(feed.stop)
        yield place


def _drift(place: _Place) -> float:
    world = place.world
    with place.screen.step("drift: sensors get noisier") as step:
        client = connect(place.settings.mlflow)
        _await(place, lambda: _looked_at(place, client), "the monitor's first word on the scores")
        begun_s = world.clock.monotonic_s()
        place.feed.age()
        _await(place, lambda: _runs(place, "2"), "noticing the drift and learning it")
        took_s = world.clock.monotonic_s() - begun_s
        _await(place, lambda: _nobody_trains(place), "the watch over version 2")
        step.done = (
            "drift: every sensor became noisier; the monitor noticed, retrained, the gate passed version 2, and the "
            f"worker ran it {took_s:.0f} s after the first noisy reading"
        )
    return took_s


def _looked_at(place: _Place, client: Any) -> bool:
    """Whether MLflow shows already how the scores of sound sensors are spread."""
    uri = place.settings.mlflow.tracking_uri
    with bounded(uri, "drift not read"):
        found = client.search_runs([experiment_id(client, uri, PIPELINE)], "metrics.score_psi >= 0", max_results=1)
    return bool(found)


def _cut_short(place: _Place) -> str:
    with place.screen.step("a bad training") as step:
        _retrained(place, "life-retrain-3", CUT_SHORT, NOT_PROMOTED)
        found = _newest(place.store)
        refused = found.tags["stream_ae.verdict"]
        step.done = f"a training cut short: the gate refused version {found.version}, {refused.split(' (limit')[0]}"
    return refused


def _wrong_topic(place: _Place, machines: list[Machine]) -> str:
    """Its data look fine to the gate, which has only them to judge by; the workers have the plant's."""
    with place.screen.step("a training on the wrong topic") as step:
        scaled = [
            Series(one.stream, one.channels, one.timestamp_ms, one.values * LAB_UNIT)
            for one in _laid_out(place.world, machines, LAB_ROWS)
        ]
        place.world.send(place.settings, batches(scaled, LAB))
        _retrained(place, "life-retrain-4", {"STREAM_AE_TOPICS__RAW": LAB}, ROLLED_BACK)
        found = _newest(place.store)
        taken_back = found.tags[ROLLED_BACK_TAG].removeprefix(f"version {found.version} rolled back: ")
        _await(place, lambda: _runs(place, "2"), "going back to version 2")
        step.done = f"a training on the wrong topic: version {found.version} came up and was rolled back, {taken_back}"
    return taken_back


def _retrained(place: _Place, name: str, overrides: dict[str, str], expected: int) -> None:
    child = place.world.spawn(name, ["retrain"], **OPTIONS | overrides)
    _await(place, lambda: child.check_done(expected), name)


def _await(place: _Place, holds: Callable[[], bool], what: str) -> None:
    def look() -> bool:
        place.feed.check()
        return holds()

    place.world.wait_until(look, what, STEP_TIMEOUT_S)


def _runs(place: _Place, version: str) -> bool:
    workers = place.signal.workers()
    return bool(workers) and all(one.model is not None and one.model.version == version for one in workers)


def _nobody_trains(place: _Place) -> bool:
    """Whether the retraining that the monitor started has ended: it holds the lock while it watches, too."""
    try:
        with place.signal.lock("retrain", 1.0):
            return True
    except LockHeldError:
        return False


def _newest(store: ModelStore) -> ModelVersion:
    return max(store.versions(), key=lambda version: int(version.version))


def _laid_out(world: World, machines: list[Machine], rows: int) -> list[Series]:
    end_ms = world.clock.wall_ms()
    return [
        Series(machine.name, machine.channels, sample_data.timestamps(rows, end_ms), machine.train[:rows])
        for machine in machines
    ]

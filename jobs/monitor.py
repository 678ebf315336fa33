"""Watch the workers of a pipeline and write to MLflow how each deployed version does; retrain when scores or inputs
drift.

    python -m jobs.monitor --config stream-ae.yaml

Ends on SIGTERM or SIGINT, and ends a retraining that is under way with it. A second one waits until the first is gone.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Protocol

import typer

from jobs.one_shot import EXIT_CONFIG, TAG
from jobs.schedule import JobProcess, job_command
from jobs.worst import WorstWindows, drawable
from stream_ae.clock import Clock, SystemClock
from stream_ae.configuration import load
from stream_ae.errors import ConfigError, LockHeldError, ModelError, TransientError
from stream_ae.kafka.driver import open_reader
from stream_ae.models.about import About, read_about
from stream_ae.ports import ModelSignal, ModelStore, Point
from stream_ae.records import ModelIdentity
from stream_ae.registry.cache import VersionCache
from stream_ae.registry.deployed import MlflowRuns
from stream_ae.registry.drift import DriftLook, DriftState, DriftWatch, RetrainTrigger
from stream_ae.registry.input_drift import InputLook, InputWatch
from stream_ae.registry.ledger import Ledger
from stream_ae.registry.looks import Looks, Seen
from stream_ae.registry.shadows import shadow_metrics
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import MonitorSettings, Settings
from stream_ae.status import WorkerStatus
from stream_ae.telemetry import Log, set_up_logging
from stream_ae.worker.stopping import stop_on_signals

log = Log("monitor")

ALERT = f"{TAG}alert"
# Stays when the drift is over or the version has gone: what there was to see.
LAST_ALERT = f"{TAG}last_alert"
DRIFT_RETRAIN = f"{TAG}drift_retrain"
SHADOW = f"{TAG}shadow"
# How often it is tried to become the monitor in service.
LOCK_RETRY_S = 5.0
# Exit codes of `jobs.retrain` after which there is nothing more to try for this drift: promoted, or judged no better.
ANSWERS = (0, 3)
# Of a version whose inputs are not watched.
UNSEEN = InputLook({}, 0, (), DriftState.UNKNOWN, changed=False)


class Painter(Protocol):
    """Who draws what a version flagged; `worst.WorstWindows`."""

    def picture(self, model: ModelIdentity, about: About, start_ms: int, end_ms: int) -> bytes | None:
        """A PNG of [start_ms, end_ms), None if there is nothing to see. Raises TransientError, ConfigError."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """What the monitor talks to.

    retrain:  starts a retraining and gives its exit code when it has ended.
    about:    what a version says of itself; raises TransientError while that cannot be had, ModelError if it never can.
    worst:    draws the worst windows, None: nobody does.
    """

    signal: ModelSignal
    ledger: Ledger
    clock: Clock
    retrain: Callable[[], "Future[int]"]
    about: Callable[[ModelIdentity], About]
    worst: Painter | None = None


@dataclass(frozen=True, slots=True)
class _Retraining:
    model: ModelIdentity
    begun: str
    code: "Future[int]"


class Monitor:
    """One writer's memory between looks."""

    def __init__(self, world: World, settings: MonitorSettings) -> None:
        self._world = world
        self._settings = settings
        self._looks = Looks()
        self._trigger = RetrainTrigger(settings)
        self._watches: dict[str, DriftWatch] = {}
        self._input_watches: dict[str, InputWatch | None] = {}
        self._drifting_since: dict[str, int] = {}
        self._in_service: dict[str, ModelIdentity] = {}
        self._in_shadow: dict[str, ModelIdentity] = {}
        self._retraining: _Retraining | None = None
        self._redis_away = False
        self._abouts: dict[str, About | None] = {}
        self._drawn_ms = world.clock.wall_ms()
        self._undrawn = False

    def serve(self, stop: threading.Event) -> None:
        """Look and write until `stop`, or until Redis is back: meanwhile the lock may have become another's."""
        while not stop.is_set():
            try:
                if self._redis_away:
                    self._world.signal.desired()
                    self._redis_away = False
                    log.info("Redis is back")
                    return
                self.look()
            except TransientError as error:
                if not self._redis_away:
                    log.warning("workers not seen", reason=str(error))
                self._redis_away = True
            self.write()
            self.draw()
            self._world.clock.wait(stop, self._settings.every_s)

    def look(self) -> None:
        """One look at the workers. Raises TransientError, with nothing changed, when Redis is away."""
        at_ms = self._world.clock.wall_ms()
        workers, desired = self._world.signal.workers(), self._world.signal.desired()
        seen = self._looks.look(workers, desired.model if desired is not None else None, at_ms)
        self._hear_of_retraining()
        for one in seen:
            self._judge(one, at_ms)
        in_service = {one.model.digest: one.model for one in seen}
        self._leave(in_service | self._shadows(workers, in_service, at_ms))

    def write(self) -> None:
        """What was seen, to MLflow, if it takes it."""
        for run in self._world.ledger.write():
            if told := run.tags.get(DRIFT_RETRAIN):
                self._trigger.recall(_read_ms(told))

    def forget(self) -> None:
        """Somebody else is the monitor: what workers do meanwhile is theirs to write."""
        self._looks.forget()
        self._watches.clear()
        self._input_watches.clear()
        self._drifting_since.clear()
        self._in_service.clear()
        self._in_shadow.clear()
        self._world.ledger.reopen()

    def _judge(self, seen: Seen, at_ms: int) -> None:
        drift = self._watches.setdefault(seen.model.digest, DriftWatch(self._settings)).look(seen.scores)
        watch = self._input_watch(seen.model)
        inputs = watch.look(seen.inputs, seen.latents) if watch is not None else UNSEEN
        psi = {} if math.isnan(drift.psi) else {"score_psi": drift.psi}
        self._world.ledger.note(seen.model, Point(at_ms, {**seen.metrics, **psi, **inputs.metrics}))
        causes = _causes(drift, inputs)
        if drift.changed or inputs.changed:
            self._tell(seen.model, causes, at_ms)
        if causes and self._retraining is None:
            self._retrain(seen.model, at_ms)

    def _shadows(
        self, workers: Sequence[WorkerStatus], in_service: Mapping[str, ModelIdentity], at_ms: int
    ) -> dict[str, ModelIdentity]:
        """Note how challengers do, in the runs that they go on in once they are champion."""
        now = {}
        for model, metrics in shadow_metrics(workers).items():
            if model.digest not in in_service:
                now[model.digest] = model
                self._world.ledger.note(model, Point(at_ms, metrics))
                self._world.ledger.tag(model, SHADOW, "scores beside the champion")
        for digest, model in self._in_shadow.items():
            if digest not in now:
                self._world.ledger.tag(model, SHADOW, "")
        self._in_shadow = now
        return now

    def _input_watch(self, model: ModelIdentity) -> InputWatch | None:
        """None for a version without bins, and while MLflow, which has them, is away."""
        if model.digest not in self._input_watches:
            about = self._about(model)
            if about is None:
                return None
            bins = about.drift_bins
            self._input_watches[model.digest] = InputWatch(bins, self._settings) if bins is not None else None
        return self._input_watches[model.digest]

    def _about(self, model: ModelIdentity) -> About | None:
        """None while MLflow, which has it, is away, and for a version that cannot be read."""
        if model.digest not in self._abouts:
            try:
                self._abouts[model.digest] = self._world.about(model)
            except TransientError as error:
                log.debug("version not read", version=model.version, reason=str(error))
                return None
            except ModelError as error:
                log.warning("inputs not watched", version=model.version, reason=str(error))
                self._abouts[model.digest] = None
        return self._abouts[model.digest]

    def draw(self) -> None:
        """Once in a while, the worst windows of each version in service since the last time."""
        worst, now_ms = self._world.worst, self._world.clock.wall_ms()
        if worst is None or self._settings.picture_every_s is None:
            return
        begin_ms = self._drawn_ms
        if now_ms - begin_ms < 1000 * self._settings.picture_every_s:
            return
        self._drawn_ms = now_ms
        for model in self._in_service.values():
            about = self._about(model)
            if about is None:
                continue
            try:
                png = worst.picture(model, about, begin_ms, now_ms)
            except (TransientError, ConfigError) as error:
                if not self._undrawn:
                    log.warning("worst windows not drawn", reason=str(error))
                self._undrawn = True
                return
            self._undrawn = False
            if png is not None:
                self._world.ledger.picture(model, f"worst/{_written(now_ms).replace(':', '-')}.png", png)

    def _tell(self, model: ModelIdentity, causes: list[str], at_ms: int) -> None:
        if not causes:
            # Also of an alert that the monitor before this one has left.
            self._drifting_since.pop(model.digest, None)
            self._world.ledger.tag(model, ALERT, "")
            self._trigger.rearm(model.digest)
            log.info("no drift", version=model.version)
            return
        since_ms = self._drifting_since.setdefault(model.digest, at_ms)
        alert = f"drift since {_written(since_ms)}: {'; '.join(causes)}"
        for name in (ALERT, LAST_ALERT):
            self._world.ledger.tag(model, name, alert)
        log.warning("drift", version=model.version, of="; ".join(causes))

    def _retrain(self, model: ModelIdentity, at_ms: int) -> None:
        if not self._trigger.due(model.digest, at_ms):
            return
        self._trigger.started(model.digest, at_ms)
        begun = _written(at_ms)
        self._world.ledger.tag(model, DRIFT_RETRAIN, f"{begun} started")
        log.warning("retraining for drift", version=model.version)
        self._retraining = _Retraining(model, begun, self._world.retrain())

    def _hear_of_retraining(self) -> None:
        under_way = self._retraining
        if under_way is None or not under_way.code.done():
            return
        code = under_way.code.result()
        self._retraining = None
        self._world.ledger.tag(under_way.model, DRIFT_RETRAIN, f"{under_way.begun} ended with exit code {code}")
        log.info("retraining for drift ended", version=under_way.model.version, exit_code=code)
        if code not in ANSWERS:
            self._trigger.rearm(under_way.model.digest)

    def _leave(self, now: dict[str, ModelIdentity]) -> None:
        for digest, model in self._in_service.items():
            if digest not in now:
                self._watches.pop(digest, None)
                self._input_watches.pop(digest, None)
                self._abouts.pop(digest, None)
                self._drifting_since.pop(digest, None)
                self._world.ledger.tag(model, ALERT, "")
                self._world.ledger.leave(model)
        self._in_service = now


def monitor(world: World, settings: Settings, stop: threading.Event) -> None:
    """Be the monitor of the pipeline until `stop` is set, as soon as no other one is."""
    one = Monitor(world, settings.monitor)
    said = ""
    while not stop.is_set():
        try:
            with world.signal.lock("monitor", settings.retrain.lock_lease_s):
                log.info("monitor in service", pipeline=settings.pipeline)
                said = ""
                one.serve(stop)
            continue
        except TransientError as error:
            held = isinstance(error, LockHeldError)
            waiting = "another monitor is in service" if held else "monitor not in service"
            if held:
                one.forget()
            if waiting != said:
                log.warning(waiting, reason=str(error))
            said = waiting
        world.clock.wait(stop, LOCK_RETRY_S)


def _causes(drift: DriftLook, inputs: InputLook) -> list[str]:
    """What drifts, a sentence each."""
    causes = []
    if drift.state is DriftState.DRIFTING:
        causes.append(f"PSI {drift.psi:.2f} of {drift.samples} scores")
    if inputs.state is DriftState.DRIFTING:
        worst = ", ".join(inputs.worst) or "within their limits again, not yet below half of them"
        causes.append(f"PSI of {inputs.samples} inputs: {worst}")
    return causes


def _written(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat()


def _read_ms(told: str) -> int:
    """When the retraining that a tag tells of began; 0 if somebody wrote something else into it."""
    try:
        return round(datetime.fromisoformat(told.split()[0]).timestamp() * 1000)
    except ValueError:
        return 0


def fetched_about(store: ModelStore, model: ModelIdentity) -> About:
    """What a version in the store says of itself. Raises TransientError, ModelError as of `World.about`."""
    with TemporaryDirectory(prefix="stream-ae-monitor-") as folder:
        return read_about(VersionCache(Path(folder)).fetch(store, model))


def worst_windows(settings: Settings, clock: Clock) -> WorstWindows | None:
    """Who draws them; None if nobody shall, or can."""
    if settings.monitor.picture_every_s is None:
        return None
    if not drawable():
        log.warning(
            "no pictures of the worst windows: matplotlib is not installed; pip install 'stream-ae[local]', or set "
            "monitor.picture_every_s: null"
        )
        return None
    return WorstWindows(settings, partial(open_reader, settings.kafka, clock))


def run(settings: Settings, config: Path | None, stop: threading.Event) -> int:
    """Monitor the pipeline of `settings` until `stop` is set."""
    clock = SystemClock()
    ledger = Ledger(MlflowRuns(settings.mlflow, settings.pipeline))
    job = JobProcess(job_command("retrain", config), settings.schedule.job_timeout_s)
    signal = RedisSignal(settings.redis, settings.pipeline, clock)
    about = partial(fetched_about, MlflowStore(settings.mlflow, settings.pipeline))
    worst = worst_windows(settings, clock)
    with closing(signal), ThreadPoolExecutor(1, thread_name_prefix="retrain") as pool:
        try:
            monitor(World(signal, ledger, clock, partial(pool.submit, job.run), about, worst), settings, stop)
        finally:
            job.stop()
    log.info("monitor stopped")
    return 0


def main(config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None) -> None:
    """Write to MLflow how every deployed version does, until stopped."""
    try:
        settings = load(config).settings
        set_up_logging(settings.log.level)
        with stop_on_signals() as stop:
            raise typer.Exit(run(settings, config, stop))
    except ConfigError as error:
        typer.echo(f"monitor: error: {error}", err=True)
        raise typer.Exit(EXIT_CONFIG) from None


if __name__ == "__main__":
    typer.run(main)

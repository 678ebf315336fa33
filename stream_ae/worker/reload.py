"""Bringing the model in service to the desired version, off the data path."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream_ae.clock import Clock, Deadline
from stream_ae.errors import ModelError, TransientError
from stream_ae.flow.model import ServedModel
from stream_ae.ports import ModelSignal, ModelStore
from stream_ae.records import ModelIdentity
from stream_ae.registry.cache import VersionCache
from stream_ae.telemetry import Log, WorkerMetrics
from stream_ae.worker.slot import ModelSlot
from stream_ae.worker.status import StatusBoard

log = Log("worker.reload")

# A wait for a nudge is cut into slices of this length, so that a stop is noticed.
WAIT_SLICE_S = 0.2

LoadModel = Callable[[Path, ModelIdentity], ServedModel]


@dataclass(frozen=True, slots=True)
class ModelWorld:
    """Where versions come from and how the worker hears of them."""

    store: ModelStore
    signal: ModelSignal
    cache: VersionCache
    load: LoadModel


@dataclass(frozen=True, slots=True)
class _Target:
    model: ModelIdentity
    announced_ms: int


class Reloader:
    """Reconciles on nudge, on reconnect and on a timer, by content digest (DESIGN 4, hot reload).

    The start-up order is the desired version, the champion, the last version that worked on this machine.
    Whatever goes wrong, the model in service stays and the status says why.
    """

    def __init__(
        self,
        world: ModelWorld,
        slot: ModelSlot,
        board: StatusBoard,
        metrics: WorkerMetrics,
        clock: Clock,
        max_batch: int,
    ) -> None:
        self._world = world
        self._slot = slot
        self._board = board
        self._metrics = metrics
        self._clock = clock
        self._max_batch = max_batch
        self._refused: _Target | None = None
        self._said_waiting = False

    def run(self, stop: threading.Event, interval_s: float) -> None:
        """The reload thread's life: until `stop` is set."""
        subscribed = False
        while not stop.is_set():
            subscribed = subscribed or self._subscribed()
            self._reconcile_guarded()
            self._await_nudge(stop, interval_s, subscribed)

    def reconcile(self) -> None:
        """One pass: look up what shall run and put it into service if it is not."""
        target = self._target()
        current = self._slot.model
        if target is None:
            self._say_waiting()
            return
        if target == self._refused:
            return
        if current is not None and target.model.digest == current.identity.digest:
            self._refused = None
            self._board.problem("model", None)
            return
        try:
            self._put_into_service(target.model)
        except TransientError as error:
            self._note("mlflow", f"version {target.model.version} cannot be fetched yet: {error}")
        except ModelError as error:
            self._refuse(target, str(error))

    def _subscribed(self) -> bool:
        try:
            self._world.signal.subscribe()
        except TransientError as error:
            self._note("redis", f"Redis is away: {error}")
            return False
        return True

    def _reconcile_guarded(self) -> None:
        try:
            self.reconcile()
        except Exception as error:
            log.exception("reload failed")
            self._board.problem("reload", f"reload failed unexpectedly: {error!r}; see the log")
        else:
            self._board.problem("reload", None)

    def _await_nudge(self, stop: threading.Event, interval_s: float, subscribed: bool) -> None:
        deadline = Deadline.after(self._clock, interval_s)
        while not stop.is_set() and not deadline.passed():
            slice_s = min(WAIT_SLICE_S, deadline.left_s())
            if not subscribed:
                self._clock.wait(stop, slice_s)
                continue
            try:
                if self._world.signal.wait(slice_s):
                    return
            except TransientError as error:
                self._note("redis", f"Redis is away: {error}")
                self._clock.wait(stop, slice_s)

    def _target(self) -> _Target | None:
        try:
            desired = self._world.signal.desired()
            self._note("redis", None)
        except TransientError as error:
            self._note("redis", f"Redis is away: {error}")
            desired = None
        champion = self._champion()
        if desired is not None:
            return _Target(desired.model, desired.announced_ms)
        if champion is not None:
            return _Target(champion, 0)
        if self._slot.model is None:
            return self._last_good()
        return None

    def _champion(self) -> ModelIdentity | None:
        """Looked up on every pass, so that a registry that is away shows in the status before it is needed."""
        try:
            champion = self._world.store.champion()
        except TransientError as error:
            self._note("mlflow", f"MLflow is away: {error}")
            return None
        self._note("mlflow", None)
        return champion.identity if champion is not None else None

    def _last_good(self) -> _Target | None:
        good = self._world.cache.last_good()
        if good is None:
            return None
        log.warning("starting on the last version that worked here", name=good.name, version=good.version)
        return _Target(good, 0)

    def _put_into_service(self, model: ModelIdentity) -> None:
        started_s = self._clock.monotonic_s()
        folder = self._world.cache.fetch(self._world.store, model)
        candidate = self._world.load(folder, model)
        self._check(candidate)
        before = self._slot.model
        self._board.swapped(model)
        self._slot.swap(candidate)
        self._world.cache.remember_good(model)
        self._refused = None
        self._board.problem("model", None)
        self._metrics.reloads.inc()
        log.info(
            "model swapped",
            name=model.name,
            before=before.identity.version if before is not None else "none",
            to=model.version,
            load_s=self._clock.monotonic_s() - started_s,
        )

    def _check(self, candidate: ServedModel) -> None:
        """Warm up on the real batch shapes and refuse what does not fit or does not answer with finite numbers."""
        current = self._slot.model
        if current is not None and candidate.channels != current.channels:
            raise ModelError(
                f"it is for channels {', '.join(candidate.channels)}, this stream has {', '.join(current.channels)}: "
                "serve it under another pipeline name, or restart the workers if the stream has changed"
            )
        missing = np.full((1, len(candidate.channels), candidate.window), np.nan, np.float32)
        probes = [missing, np.repeat(missing, self._max_batch, axis=0)]
        recent = self._slot.recent_windows
        if recent is not None and recent.shape[1:] == missing.shape[1:]:
            probes.append(recent)
        for windows in probes:
            answer = candidate.infer(windows)
            if not np.isfinite(answer.x_hat).all() or not np.isfinite(answer.score).any():
                raise ModelError(f"it answers {len(windows)} test windows with numbers that are not finite")

    def _refuse(self, target: _Target, reason: str) -> None:
        self._refused = target
        self._metrics.reload_failures.inc()
        self._board.problem("model", f"version {target.model.version} refused: {reason}")
        log.error("model refused", name=target.model.name, version=target.model.version, reason=reason)

    def _say_waiting(self) -> None:
        if self._slot.model is None and not self._said_waiting:
            self._said_waiting = True
            log.warning("waiting for a model: no version is announced or promoted yet; `stream-ae retrain` makes one")

    def _note(self, source: str, sentence: str | None) -> None:
        if not self._board.problem(source, sentence):
            return
        if sentence is None:
            log.info("server is back", server=source)
        else:
            log.warning("degraded", server=source, reason=sentence)

"""Bringing what is in service to the desired version, off the data path: the model, and the profiles beside it."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stream_ae.clock import Clock, Deadline
from stream_ae.errors import ModelError, TransientError
from stream_ae.ports import Desired, ModelSignal, ModelStore
from stream_ae.records import ModelIdentity, ModelVersion
from stream_ae.registry.alias import AliasFollower
from stream_ae.registry.cache import VersionCache
from stream_ae.registry.rollout import unfinished
from stream_ae.telemetry import Log
from stream_ae.worker.status import StatusBoard

log = Log("worker.reload")

# A wait for a nudge is cut into slices of this length, so that a stop is noticed.
WAIT_SLICE_S = 0.2
# From promoting a version to announcing it takes less; an alias that differs for longer was moved by hand.
SETTLED_AFTER_S = 2.0
GONE = (
    "the champion is gone from MLflow: what is in service goes on; choose another version with `stream-ae models "
    "rollback` or `stream-ae models promote`"
)


@dataclass(frozen=True, slots=True)
class VersionWorld:
    """Where versions come from and how the worker hears of them."""

    store: ModelStore
    signal: ModelSignal
    cache: VersionCache


class Service(Protocol):
    """What is kept at the desired version. Called from one thread.

    name:   in logs and in the sources of problems.
    about:  begins the sentences of its problems.
    """

    name: str
    about: str

    def current(self) -> ModelIdentity | None:
        """What is in service."""
        ...

    def put(self, folder: Path, identity: ModelIdentity) -> None:
        """Load the version, try it out, and swap it in; ModelError if it cannot serve: nothing has changed then."""
        ...

    def refused(self) -> None:
        """A version was refused."""
        ...

    def missing(self) -> None:
        """Nothing is in service and there is nothing to put there."""
        ...


class DroppableService(Service, Protocol):
    """One that may be left without anything again."""

    def drop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Target:
    model: ModelIdentity
    announced_ms: int


class Reconciler:
    """Reconciles on nudge, on reconnect and on a timer, by content digest (DESIGN 4, hot reload).

    The start-up order is the desired version, the champion, the last version that worked on this machine.
    Whatever goes wrong, what is in service stays and the status says why. An alias that was moved by hand in MLflow,
    which is looked up on every pass anyway, is announced to all.

    looked:  set once it has tried for the first time, with success or not.
    """

    def __init__(self, world: VersionWorld, service: Service, board: StatusBoard, clock: Clock) -> None:
        self.looked = threading.Event()
        self._world = world
        self._service = service
        self._board = board
        self._clock = clock
        self._refused: _Target | None = None
        self._alias = AliasFollower(world.signal, clock)
        self._had_champion = False
        self._heard: Desired | None = None

    def run(self, stop: threading.Event, interval_s: float) -> None:
        """The thread's life: until `stop` is set."""
        subscribed = False
        while not stop.is_set():
            subscribed = subscribed or self._subscribed()
            self._reconcile_guarded()
            self.looked.set()
            self._await_nudge(stop, interval_s, subscribed)

    def reconcile(self) -> None:
        """One pass: look up what shall run and put it into service if it is not."""
        target = self._target()
        current = self._service.current()
        if target is None:
            if current is None:
                self._service.missing()
            return
        if target == self._refused:
            return
        if current is not None and target.model.digest == current.digest:
            self._refused = None
            self._settled()
            return
        try:
            self._put_into_service(target.model)
        except TransientError as error:
            if self._problem("fetch", f"version {target.model.version} cannot be fetched yet: {error}"):
                log.warning("version not fetched", what=self._service.name, version=target.model.version)
        except ModelError as error:
            self._refuse(target, str(error))
        if self._service.current() is None:
            self._stand_in(target)

    def _stand_in(self, target: _Target) -> None:
        """A worker that starts while the version that it shall run cannot be had serves what worked here last."""
        good = self._last_good()
        if good is None or good.model.digest == target.model.digest:
            return
        try:
            self._service.put(self._world.cache.fetch(self._world.store, good.model), good.model)
        except (ModelError, TransientError) as error:
            log.warning("last version that worked here cannot be used", version=good.model.version, reason=str(error))

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
            self._problem("reload", f"reload failed unexpectedly: {error!r}; see the log")
        else:
            self._problem("reload", None)

    def _await_nudge(self, stop: threading.Event, interval_s: float, subscribed: bool) -> None:
        timeout_s = min(interval_s, SETTLED_AFTER_S) if self._alias.waiting else interval_s
        deadline = Deadline.after(self._clock, timeout_s)
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
        champion = self._champion()
        desired = self._desired(champion)
        if desired is not None:
            return _Target(desired.model, desired.announced_ms)
        if champion is not None:
            return _Target(champion.identity, 0)
        if self._service.current() is None:
            return self._last_good()
        return None

    def _desired(self, champion: ModelVersion | None) -> Desired | None:
        try:
            desired = self._alias.look(champion, self._world.signal.desired())
        except TransientError as error:
            self._note("redis", f"Redis is away: {error}")
            # The champion would be a version that this worker was told to leave for good.
            heard = self._heard
            return heard if champion is not None and heard is not None and unfinished(champion, heard) else None
        self._note("redis", None)
        self._heard = desired
        return desired

    def _champion(self) -> ModelVersion | None:
        """Looked up on every pass, so that a registry that is away shows in the status before it is needed."""
        try:
            champion = self._world.store.champion()
        except TransientError as error:
            self._note("mlflow", f"MLflow is away: {error}")
            return None
        self._note("mlflow", None)
        gone = self._had_champion and champion is None
        self._had_champion = self._had_champion or champion is not None
        self._problem("champion", GONE if gone else None)
        return champion

    def _last_good(self) -> _Target | None:
        good = self._world.cache.last_good()
        if good is None:
            return None
        log.warning("starting on the last version that worked here", name=good.name, version=good.version)
        return _Target(good, 0)

    def _put_into_service(self, model: ModelIdentity) -> None:
        started_s = self._clock.monotonic_s()
        folder = self._world.cache.fetch(self._world.store, model)
        before = self._service.current()
        self._service.put(folder, model)
        self._world.cache.remember_good(model)
        self._refused = None
        self._settled()
        log.info(
            "version swapped",
            what=self._service.name,
            name=model.name,
            before=before.version if before is not None else "none",
            to=model.version,
            load_s=self._clock.monotonic_s() - started_s,
        )

    def _refuse(self, target: _Target, reason: str) -> None:
        self._refused = target
        self._service.refused()
        self._problem("fetch", None)
        self._problem("version", f"version {target.model.version} refused: {reason}")
        log.error(
            "version refused",
            what=self._service.name,
            name=target.model.name,
            version=target.model.version,
            reason=reason,
        )

    def _settled(self) -> None:
        self._problem("version", None)
        self._problem("fetch", None)

    def _problem(self, source: str, sentence: str | None) -> bool:
        """What is wrong with what this one keeps; true if it began or ended with that."""
        told = None if sentence is None else self._service.about + sentence
        return self._board.problem(f"{self._service.name} {source}", told)

    def _note(self, server: str, sentence: str | None) -> None:
        """A server that is away is one problem, whoever of the worker's reconcilers meets with it."""
        if not self._board.problem(server, sentence):
            return
        if sentence is None:
            log.info("server is back", server=server)
        else:
            log.warning("degraded", server=server, reason=sentence)


class ShadowReconciler(Reconciler):
    """Of a challenger: what is desired and nothing else, no champion and nothing that worked here before."""

    def __init__(self, world: VersionWorld, service: DroppableService, board: StatusBoard, clock: Clock) -> None:
        super().__init__(world, service, board, clock)
        self._droppable = service

    def _target(self) -> _Target | None:
        try:
            desired = self._world.signal.desired()
        except TransientError as error:
            self._note("redis", f"Redis is away: {error}")
            return None
        self._note("redis", None)
        if desired is not None:
            return _Target(desired.model, desired.announced_ms)
        if self._service.current() is not None or self._refused is not None:
            self._droppable.drop()
            self._refused = None
        self._settled()
        return None

    def _last_good(self) -> _Target | None:
        return None

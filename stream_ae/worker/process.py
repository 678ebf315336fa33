"""One worker process: threads, signals, and the order in which things start and stop."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stream_ae.clock import Clock, SystemClock
from stream_ae.errors import ConfigError, TransientError
from stream_ae.flow.headers import software
from stream_ae.flow.model import ServedModel
from stream_ae.flow.pipeline import Pipeline
from stream_ae.kafka.admin import check_topics
from stream_ae.kafka.driver import check_transactions, open_reader
from stream_ae.models.version import load
from stream_ae.records import ModelIdentity
from stream_ae.registry.cache import VersionCache
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import Settings, WorkerSettings
from stream_ae.telemetry import Log, WorkerMetrics
from stream_ae.worker.connection import connected
from stream_ae.worker.device import chosen_device
from stream_ae.worker.health import HealthServer
from stream_ae.worker.reconcile import Reconciler, ShadowReconciler, VersionWorld
from stream_ae.worker.reload import LoadModel, ModelService, ProfileService
from stream_ae.worker.second_look import SecondLook
from stream_ae.worker.shadow import ShadowScorer, ShadowService
from stream_ae.worker.slot import ModelSlot
from stream_ae.worker.status import StatusBoard
from stream_ae.worker.stopping import stop_on_signals
from stream_ae.worker.watchdog import Watch, Watchdog, end_process
from stream_ae.worker.worker import Flow, Worker

log = Log("worker.process")

HEARTBEATS_TO_EXPIRE = 3
# How often the brokers are asked for records that do not come, within `stall_after_s`.
SECOND_LOOKS_UNTIL_STALLED = 4
# A worker that has left is not to be waited for.
GONE_AFTER_S = 1.0
# One call to Redis or MLflow, which is tried twice, before the start: a wrong address is to be said within 10 s.
START_TIMEOUT_S = 3.0
# How long the first model waits for the first profiles, which servers that are away may keep from coming.
PROFILES_FIRST_S = 10.0
WAIT_FOR_MODEL_S = 0.2


def run_worker(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT, then drain; 0 after a clean drain.

    Raises ConfigError before anything is consumed when an address, a topic or a permission is wrong, DeliveryError
    when the brokers did not take an output and RestartError when another process has this one's place (nothing of it
    is committed: a supervisor starts the worker again). A worker that gets nowhere for `worker.stall_exit_s` ends the
    process with 75, from its watchdog's thread.
    """
    clock = SystemClock()
    name = settings.worker.name or f"{socket.gethostname()}-{os.getpid()}"
    with stop_on_signals() as stop:
        return serve(settings, name, clock, stop)


def serve(settings: Settings, name: str, clock: Clock, stop: threading.Event) -> int:
    """A worker on this thread until `stop` is set, without touching the process's signals."""
    if settings.delivery == "exactly_once":
        check_transactions(settings.kafka)
    _check_topics(settings)
    _check_servers(settings, clock)
    worlds = _Worlds(
        _world(settings, settings.pipeline, clock),
        _world(settings, settings.profiles, clock),
        VersionWorld(
            MlflowStore(settings.mlflow, settings.pipeline),
            RedisSignal(settings.redis, settings.shadow, clock),
            _cache(settings, settings.shadow),
        ),
    )
    with (
        closing(worlds.shadow.signal),
        closing(worlds.profiles.signal),
        closing(worlds.models.signal),
        connected(settings, worlds.models.signal, clock) as (source, delivery),
    ):
        pipeline = Pipeline(settings, software())
        _serve(settings, name, clock, stop, worlds, Flow(source, pipeline, delivery))
    log.info("worker stopped", worker=name)
    return 0


@dataclass(frozen=True, slots=True)
class _Worlds:
    """Where the pipeline's models live, the profiles of its streams, and a challenger that is one of its models."""

    models: VersionWorld
    profiles: VersionWorld
    shadow: VersionWorld


def _serve(settings: Settings, name: str, clock: Clock, stop: threading.Event, worlds: _Worlds, flow: Flow) -> None:
    board = StatusBoard(name, clock)
    metrics = WorkerMetrics()
    slot = ModelSlot()
    profiles = Reconciler(worlds.profiles, ProfileService(slot, board, metrics), board, clock)
    load_model = _loader(settings)
    models = Reconciler(worlds.models, ModelService(slot, board, metrics, load_model, settings), board, clock)
    shadow = ShadowReconciler(worlds.shadow, ShadowService(slot, board, load_model, settings.batch), board, clock)
    worker = Worker(flow, slot, board, metrics, settings, clock)
    health = HealthServer(settings.worker.http_host, settings.worker.http_port, metrics.registry, board.snapshot)
    board.address = health.address
    log.info("worker started", worker=name, health=health.address, device=settings.worker.device)
    threads_stop = threading.Event()
    every_s = settings.worker.reconcile_interval_s
    adapting = _thread("profiles", partial(profiles.run, threads_stop, every_s))
    reloading = _thread("reload", partial(_reload, models, profiles.looked, clock, threads_stop, every_s))
    beating = _thread("heartbeat", partial(_beat, worlds.models, board, metrics, clock, settings, threads_stop))
    looking = _thread("second look", partial(_look_twice, worker, settings, clock, threads_stop))
    choosing_shadow = _thread("shadow reload", partial(_reload_shadow, shadow, slot, clock, threads_stop, every_s))
    shadowing = _thread("shadow", partial(ShadowScorer(slot, board, clock).run, threads_stop))
    with _watched(worker, board, metrics, clock, settings.worker), health:
        threads = (adapting, reloading, beating, looking, choosing_shadow, shadowing)
        for thread in threads:
            thread.start()
        try:
            worker.run(stop)
        finally:
            threads_stop.set()
            for thread in threads:
                thread.join()


def _check_topics(settings: Settings) -> None:
    topics = settings.topics
    alike = [("cleaned", topics.cleaned), *([("latent", topics.latent)] if topics.latent is not None else [])]
    writes = [*(name for _, name in alike), topics.flagged, topics.dead_letters]
    partitions = check_topics(settings.kafka, reads=[topics.raw], writes=writes)
    raw = partitions[topics.raw]
    for kind, name in alike:
        if partitions[name] < raw:
            raise ConfigError(
                f"topic {name} has {partitions[name]} partitions, {topics.raw} has {raw}, and a {kind} record keeps "
                f"the partition of its raw record: give {name} at least {raw} (kafka-topics.sh --alter --partitions)"
            )


def _check_servers(settings: Settings, clock: Clock) -> None:
    """Refuse to start on wrong addresses; a server that is away is let pass where a version is at hand on disk."""
    redis = settings.redis.model_copy(update={"timeout_s": min(settings.redis.timeout_s, START_TIMEOUT_S)})
    mlflow = settings.mlflow.model_copy(update={"timeout_s": min(settings.mlflow.timeout_s, START_TIMEOUT_S)})
    signal = RedisSignal(redis, settings.pipeline, clock)
    # MLflow's limit is the process's, not the client's: the world's own store is made later and sets it anew.
    store = MlflowStore(mlflow, settings.pipeline)
    for server, ask, setting in (
        ("Redis", signal.desired, "redis.url"),
        ("MLflow", store.champion, "mlflow.tracking_uri"),
    ):
        try:
            ask()
        except TransientError as error:
            if _cache(settings, settings.pipeline).last_good() is None:
                raise ConfigError(
                    f"{error}: check {setting} (no version is cached on this machine to start without {server})"
                ) from error
            log.warning("starting without a server", server=server, reason=str(error))
    signal.close()


def _world(settings: Settings, name: str, clock: Clock) -> VersionWorld:
    """Where the versions of one registered model are, and how the worker hears of them."""
    return VersionWorld(
        MlflowStore(settings.mlflow, name), RedisSignal(settings.redis, name, clock), _cache(settings, name)
    )


def _cache(settings: Settings, name: str) -> VersionCache:
    return VersionCache(settings.worker.cache_dir.expanduser() / name)


def _loader(settings: Settings) -> LoadModel:
    device = chosen_device(settings.worker)

    def loaded(folder: Path, identity: ModelIdentity) -> ServedModel:
        return load(folder, device).with_identity(identity).with_codes(settings.topics.latent is not None)

    return loaded


def _reload_shadow(
    shadow: ShadowReconciler, slot: ModelSlot, clock: Clock, stop: threading.Event, every_s: float
) -> None:
    """The shadow reload thread: a challenger stands beside something."""
    while not stop.is_set() and slot.model is None:
        clock.wait(stop, WAIT_FOR_MODEL_S)
    shadow.run(stop, every_s)


def _reload(
    models: Reconciler, profiles_looked: threading.Event, clock: Clock, stop: threading.Event, every_s: float
) -> None:
    """The reload thread: profiles first, else a worker that starts would flag by the model's threshold at first."""
    clock.wait(profiles_looked, PROFILES_FIRST_S)
    models.run(stop, every_s)


def _beat(
    world: VersionWorld,
    board: StatusBoard,
    metrics: WorkerMetrics,
    clock: Clock,
    settings: Settings,
    stop: threading.Event,
) -> None:
    """The heartbeat thread: status to Redis until `stop`, and once more then, to be gone soon."""
    leaving = False
    while True:
        status = board.snapshot()
        metrics.degraded.set(bool(status.problems))
        try:
            world.signal.report(status, GONE_AFTER_S if leaving else HEARTBEATS_TO_EXPIRE * settings.worker.heartbeat_s)
        except TransientError as error:
            log.debug("status not written", reason=str(error))
        if leaving:
            return
        leaving = clock.wait(stop, settings.worker.heartbeat_s)


def _look_twice(worker: Worker, settings: Settings, clock: Clock, stop: threading.Event) -> None:
    second = SecondLook(worker.progress, settings.topics.raw, partial(open_reader, settings.kafka, clock))
    second.run(clock, stop, settings.worker.stall_after_s / SECOND_LOOKS_UNTIL_STALLED)


def _watched(
    worker: Worker, board: StatusBoard, metrics: WorkerMetrics, clock: Clock, settings: WorkerSettings
) -> Watch:
    watchdog = Watchdog(worker.progress, clock, settings.stall_after_s)
    return Watch(watchdog, board, metrics, clock, settings.stall_exit_s, end_process)


def _thread(name: str, target: Callable[[], None]) -> threading.Thread:
    # Never daemon: a thread inside torch when the interpreter ends aborts the process.
    return threading.Thread(target=target, name=name)

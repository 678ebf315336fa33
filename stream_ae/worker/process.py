"""One worker process: threads, signals, and the order in which things start and stop."""

import os
import signal as signals
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from types import FrameType

from stream_ae.clock import Clock, SystemClock
from stream_ae.errors import ConfigError, TransientError
from stream_ae.flow.pipeline import Pipeline
from stream_ae.kafka.admin import check_topics
from stream_ae.kafka.delivery import AtLeastOnce
from stream_ae.kafka.driver import open_sink, open_source
from stream_ae.models.serialization import load
from stream_ae.registry.cache import VersionCache
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import Settings
from stream_ae.telemetry import Log, WorkerMetrics
from stream_ae.worker.device import chosen_device
from stream_ae.worker.health import HealthServer
from stream_ae.worker.reload import ModelWorld, Reloader
from stream_ae.worker.slot import ModelSlot
from stream_ae.worker.status import StatusBoard
from stream_ae.worker.worker import Flow, Worker

log = Log("worker.process")

HEARTBEATS_TO_EXPIRE = 3


def run_worker(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT, then drain; 0 after a clean drain.

    Raises ConfigError before anything is consumed when an address, a topic or a permission is wrong, DeliveryError
    when the brokers did not take an output (nothing of it is committed: a supervisor starts the worker again).
    """
    clock = SystemClock()
    name = settings.worker.name or f"{socket.gethostname()}-{os.getpid()}"
    with _stop_on_signals() as stop:
        return serve(settings, name, clock, stop)


def serve(settings: Settings, name: str, clock: Clock, stop: threading.Event) -> int:
    """A worker on this thread until `stop` is set, without touching the process's signals."""
    world = _model_world(settings, clock)
    _check_world(settings, world)
    board = StatusBoard(name, clock)
    metrics = WorkerMetrics()
    slot = ModelSlot()
    reloader = Reloader(world, slot, board, metrics, clock, settings.batch.max_records)
    source, sink = open_source(settings.kafka), open_sink(settings.kafka)
    pipeline = Pipeline(settings, f"stream-ae/{version('stream-ae')}")
    flow = Flow(source, pipeline, AtLeastOnce(source, sink, settings.kafka.delivery_timeout_s))
    worker = Worker(flow, slot, board, metrics, settings, clock)
    limit_s = 2 * settings.kafka.delivery_timeout_s
    health = HealthServer(
        settings.worker.http_host,
        settings.worker.http_port,
        metrics.registry,
        board.snapshot,
        alive=lambda: clock.monotonic_s() - worker.last_turn_s < limit_s,
    )
    board.address = health.address
    log.info("worker started", worker=name, health=health.address, device=settings.worker.device)
    threads_stop = threading.Event()
    reloading = _thread("reload", partial(reloader.run, threads_stop, settings.worker.reconcile_interval_s))
    beating = _thread("heartbeat", partial(_beat, world, board, metrics, clock, settings, threads_stop))
    with health:
        reloading.start()
        beating.start()
        try:
            worker.run(stop)
        finally:
            threads_stop.set()
            reloading.join()
            beating.join()
            sink.close()
            world.signal.close()
    log.info("worker stopped", worker=name)
    return 0


def _model_world(settings: Settings, clock: Clock) -> ModelWorld:
    device = chosen_device(settings.worker)
    return ModelWorld(
        store=MlflowStore(settings.mlflow, settings.pipeline),
        signal=RedisSignal(settings.redis, settings.pipeline, clock),
        cache=VersionCache(settings.worker.cache_dir.expanduser() / settings.pipeline),
        load=lambda folder, identity: load(folder, device).with_identity(identity),
    )


def _check_world(settings: Settings, world: ModelWorld) -> None:
    """Refuse to start on wrong addresses; a server that is away is let pass where a version is at hand on disk."""
    topics = settings.topics
    check_topics(settings.kafka, [topics.raw, topics.cleaned, topics.flagged, topics.dead_letters])
    for server, ask, setting in (
        ("Redis", world.signal.desired, "redis.url"),
        ("MLflow", world.store.champion, "mlflow.tracking_uri"),
    ):
        try:
            ask()
        except TransientError as error:
            if world.cache.last_good() is None:
                raise ConfigError(
                    f"{error}: check {setting} (no version is cached on this machine to start without {server})"
                ) from error
            log.warning("starting without a server", server=server, reason=str(error))


def _beat(
    world: ModelWorld,
    board: StatusBoard,
    metrics: WorkerMetrics,
    clock: Clock,
    settings: Settings,
    stop: threading.Event,
) -> None:
    """The heartbeat thread: status to Redis until `stop`, and once more then."""
    expires_s = HEARTBEATS_TO_EXPIRE * settings.worker.heartbeat_s
    while True:
        status = board.snapshot()
        metrics.degraded.set(bool(status.problems))
        try:
            world.signal.report(status, expires_s)
        except TransientError as error:
            log.debug("status not written", reason=str(error))
        if clock.wait(stop, settings.worker.heartbeat_s):
            return


def _thread(name: str, target: Callable[[], None]) -> threading.Thread:
    # Never daemon: a thread inside torch when the interpreter ends aborts the process.
    return threading.Thread(target=target, name=name)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """SIGTERM or SIGINT sets the event; a second one ends the process at once, without a commit."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    before = {number: signals.signal(number, on_signal) for number in (signals.SIGTERM, signals.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signals.signal(number, handler)

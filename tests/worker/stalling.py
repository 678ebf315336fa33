"""A worker whose model never answers, as a process: `python -m tests.worker.stalling`."""

import threading

from stream_ae.clock import SystemClock
from stream_ae.flow.pipeline import Pipeline
from stream_ae.kafka.delivery import AtLeastOnce
from stream_ae.records import Float32, Inference
from stream_ae.settings import Settings
from stream_ae.telemetry import WorkerMetrics, set_up_logging
from stream_ae.testing import InMemoryBroker, InMemorySink, InMemorySource
from stream_ae.worker.slot import ModelSlot
from stream_ae.worker.status import StatusBoard
from stream_ae.worker.watchdog import Watch, Watchdog, end_process
from stream_ae.worker.worker import Flow, Worker
from tests.worker.fakes import MeanModel, sample


class Silent(MeanModel):
    """Never answers."""

    def infer(self, windows: Float32) -> Inference:
        threading.Event().wait()
        raise AssertionError("nobody sets the event")


def main() -> None:
    set_up_logging("INFO")
    clock, settings, slot, metrics = SystemClock(), Settings(), ModelSlot(), WorkerMetrics()
    broker, board = InMemoryBroker(), StatusBoard("w", clock)
    for name in ("raw", "cleaned", "flagged", "dead-letters"):
        broker.create_topic(name)
    broker.append("raw", sample(1.0, 0))
    source = InMemorySource(broker, "g")
    flow = Flow(source, Pipeline(settings, "stream-ae/test"), AtLeastOnce(source, InMemorySink(broker), 1.0))
    worker = Worker(flow, slot, board, metrics, settings, clock)
    slot.swap(Silent())
    watchdog = Watchdog(worker.progress, clock, stall_after_s=0.5)
    with Watch(watchdog, board, metrics, clock, 2.0, end_process):
        worker.run(threading.Event())


if __name__ == "__main__":
    main()

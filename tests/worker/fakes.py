"""A model that can be checked by head, and a worker on a broker in memory."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from stream_ae.flow.model import ServedModel
from stream_ae.flow.pipeline import Pipeline, Work
from stream_ae.flow.profiles import Served
from stream_ae.kafka.delivery import AtLeastOnce, Delivery, ExactlyOnce
from stream_ae.ports import RecordSink
from stream_ae.records import Float32, Inference, ModelIdentity
from stream_ae.settings import Settings, TopicSettings
from stream_ae.telemetry import WorkerMetrics
from stream_ae.testing import InMemoryBroker, InMemorySink, InMemorySource, InMemoryTransactionalSink, ManualClock
from stream_ae.worker.slot import ModelSlot
from stream_ae.worker.status import StatusBoard
from stream_ae.worker.worker import Flow, Worker
from tests.no_bins import NoBins

TURNS = 2000


class MeanModel(NoBins):
    """Denoises to the mean of the window; the score is how far the newest sample is from it."""

    lookahead = 0
    threshold = 10.0
    start_threshold = 0.0
    frame = None

    def __init__(self, version: str = "1", channels: tuple[str, ...] = ("a",), window: int = 4) -> None:
        self.identity = ModelIdentity("pump", version, version * 64)
        self.channels = channels
        self.window = window
        self.may_answer = threading.Event()
        self.may_answer.set()

    def infer(self, windows: Float32) -> Inference:
        assert self.may_answer.wait(30)
        filled = np.nan_to_num(windows)
        x_hat = filled.mean(axis=2)
        score = np.abs(filled[:, :, -1] - x_hat).max(axis=1).astype(np.float64)
        share = np.full(x_hat.shape, 1 / len(self.channels), np.float32)
        return Inference(x_hat, score, np.exp(-score), share)


class CodingModel(MeanModel):
    """Gives codes too: the mean of the window, and the version."""

    def infer(self, windows: Float32) -> Inference:
        answer = super().infer(windows)
        version = np.full((len(answer), 1), float(self.identity.version), np.float32)
        return replace(answer, code=np.concatenate((answer.x_hat, version), axis=1))


class OneWorker:
    """A worker that a test turns by hand."""

    def __init__(
        self,
        broker: InMemoryBroker,
        clock: ManualClock,
        settings: Settings,
        name: str = "w",
        sink: RecordSink | None = None,
    ) -> None:
        self.broker = broker
        self.clock = clock
        self.settings = settings
        self.slot = ModelSlot()
        self.board = StatusBoard(name, clock)
        self.metrics = WorkerMetrics()
        self.source = InMemorySource(broker, settings.kafka.group_id)
        self.pipeline = Pipeline(settings, "stream-ae/test")
        self.delivery = self._delivery(name, sink)
        flow = Flow(self.source, self.pipeline, self.delivery)
        self.worker = Worker(flow, self.slot, self.board, self.metrics, settings, clock)

    def _delivery(self, slot: str, sink: RecordSink | None) -> Delivery:
        if self.settings.delivery == "at_least_once":
            return AtLeastOnce(self.source, sink or InMemorySink(self.broker), 1.0)
        return ExactlyOnce(self.source, InMemoryTransactionalSink(self.broker, slot), 1.0, self.clock)

    def use(self, model: MeanModel) -> None:
        self.board.swapped(model.identity)
        self.slot.swap(model)

    def join(self, model: MeanModel | None = None) -> None:
        self.use(model or MeanModel())
        self.worker.join()

    def turn_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(TURNS):
            if condition():
                return
            self.worker.turn()
            self.clock.advance(0.05)
            self.worker.wait_for_device(0.05)
        raise AssertionError(f"not within {TURNS} turns")

    def cleaned(self) -> list[float]:
        return [json.loads(r.value or b"")["values"][0] for r in self.broker.records(self.settings.topics.cleaned)]

    def committed(self) -> int:
        return sum(p.offset for p in self.broker.committed(self.settings.kafka.group_id).values())


def work_of(model: ServedModel, windows: Float32, rewound: tuple[int, ...] = ()) -> Work:
    """A batch of windows for the model, outside any pipeline."""
    none = np.zeros(len(windows), np.int64)
    return Work(Served(model), None, windows, -1, none, none, None, np.array(rewound, np.int64))


def broker_with_topics(clock: ManualClock, topics: TopicSettings, partitions: int = 1) -> InMemoryBroker:
    """A broker that has the topics of a pipeline."""
    broker = InMemoryBroker(clock)
    for name in topics.names():
        broker.create_topic(name, partitions)
    return broker


def sample(value: float, second: int, stream: str = "s") -> bytes:
    return json.dumps({"stream": stream, "timestamp": 1_700_000_000_000 + 1000 * second, "values": [value]}).encode()

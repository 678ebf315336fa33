"""Everything that waits is bounded, whoever is slow, and the group is polled all the while."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_ae.ports import Desired
from stream_ae.records import ModelIdentity, OutgoingBatch, RecordBatch
from stream_ae.registry.cache import VersionCache
from stream_ae.settings import BatchSettings, Settings
from stream_ae.testing import InMemoryBroker, InMemoryRedis, InMemorySignal, InMemorySink, InMemoryStore, ManualClock
from stream_ae.worker.reconcile import Reconciler, VersionWorld
from stream_ae.worker.reload import ModelService
from stream_ae.worker.worker import MAX_HELD, MAX_IN_FLIGHT
from tests.worker.fakes import MeanModel, OneWorker, broker_with_topics, sample

MAX_RECORDS = 10
SETTINGS = Settings(batch=BatchSettings(max_records=MAX_RECORDS))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> InMemoryBroker:
    return broker_with_topics(clock, SETTINGS.topics)


def send(broker: InMemoryBroker, count: int, stream: str = "s") -> None:
    # Ten a second: not further ahead of Kafka's time than is allowed.
    for number in range(count):
        broker.append("raw", sample(float(number), number // 10, stream), partition=0)


class Polls:
    """When the group was polled, on the worker's clock."""

    def __init__(self, one: OneWorker) -> None:
        self._poll = one.source.poll
        self._clock = one.clock
        self._newest_s = one.clock.monotonic_s()
        self.longest_gap_s = 0.0
        one.source.poll = self.poll  # type: ignore[method-assign]

    def poll(self, max_records: int, timeout_s: float) -> RecordBatch:
        now_s = self._clock.monotonic_s()
        self.longest_gap_s = max(self.longest_gap_s, now_s - self._newest_s)
        self._newest_s = now_s
        return self._poll(max_records, 0.0)


def test_the_group_is_polled_while_the_device_works_for_longer_than_the_poll_interval(
    broker: InMemoryBroker, clock: ManualClock
) -> None:
    one, model = OneWorker(broker, clock, SETTINGS), MeanModel()
    send(broker, 200)
    model.may_answer.clear()
    one.join(model)
    polls = Polls(one)
    while clock.monotonic_s() < 2 * SETTINGS.kafka.max_poll_interval_s:
        one.worker.turn()
        clock.advance(10)
    assert polls.longest_gap_s <= 10
    assert one.pipeline.in_flight == MAX_IN_FLIGHT
    model.may_answer.set()
    one.turn_until(lambda: one.committed() == 200)


def test_the_group_is_polled_and_records_are_answered_while_a_version_takes_long_to_load(
    broker: InMemoryBroker, clock: ManualClock, tmp_path: Path
) -> None:
    one = OneWorker(broker, clock, SETTINGS)
    loading, may_load = threading.Event(), threading.Event()

    def load(folder: Path, identity: ModelIdentity) -> MeanModel:
        loading.set()
        assert may_load.wait(30)
        return MeanModel(identity.version)

    store, signal = InMemoryStore(clock, "pump"), InMemorySignal(InMemoryRedis(clock), "pump")
    (tmp_path / "version").mkdir()
    (tmp_path / "version" / "weights").write_bytes(b"heavy")
    version = store.register(tmp_path / "version", {}, {})
    signal.announce(Desired(version.identity, clock.wall_ms()))
    world = VersionWorld(store, signal, VersionCache(tmp_path / "cache"))
    service = ModelService(
        one.slot, one.board, one.metrics, load, Settings(batch=BatchSettings(max_records=MAX_RECORDS))
    )
    reloader = Reconciler(world, service, one.board, clock)
    one.join(MeanModel("0"))
    polls = Polls(one)
    thread = threading.Thread(target=reloader.reconcile)
    thread.start()
    assert loading.wait(30)
    while clock.monotonic_s() < 2 * SETTINGS.kafka.max_poll_interval_s:
        broker.append("raw", sample(1.0, int(clock.monotonic_s())), partition=0)
        one.worker.turn()
        clock.advance(10)
        one.worker.wait_for_device(1)
    assert polls.longest_gap_s <= 10
    assert len(one.cleaned()) >= 50
    may_load.set()
    thread.join(30)
    assert one.slot.model is not None
    assert one.slot.model.identity.version == "1"


class Clogged(InMemorySink):
    """Takes one batch, then none until it `may_go_on`."""

    def __init__(self, broker: InMemoryBroker) -> None:
        super().__init__(broker)
        self.batches = 0
        self.is_clogged = threading.Event()
        self.may_go_on = threading.Event()

    def produce(self, batch: OutgoingBatch) -> None:
        self.batches += 1
        if self.batches > 1:
            self.is_clogged.set()
            assert self.may_go_on.wait(30)
        super().produce(batch)


@pytest.fixture
def running(broker: InMemoryBroker) -> Iterator[tuple[OneWorker, Clogged]]:
    sink = Clogged(broker)
    one = OneWorker(broker, ManualClock(moves_itself=True), SETTINGS, sink=sink)
    one.use(MeanModel())
    stop = threading.Event()
    thread = threading.Thread(target=one.worker.run, args=(stop,))
    send(broker, 500)
    thread.start()
    yield one, sink
    sink.may_go_on.set()
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def test_a_sink_slower_than_the_source_slows_the_source(
    running: tuple[OneWorker, Clogged],
) -> None:
    one, sink = running
    assert sink.is_clogged.wait(30)
    read = 500 - sum(one.source.lag().values())
    # One batch has left, one is leaving; behind them two in flight, two in the buffer and one poll above it.
    assert read <= (2 + MAX_IN_FLIGHT + MAX_IN_FLIGHT + 1) * MAX_RECORDS
    sink.may_go_on.set()
    while len(one.cleaned()) < 500:
        threading.Event().wait(0.01)


def test_what_look_ahead_holds_back_is_bounded_too(broker: InMemoryBroker, clock: ManualClock) -> None:
    one, model = OneWorker(broker, clock, SETTINGS), MeanModel()
    model.lookahead = 1
    send(broker, 1, stream="silent from now on")
    send(broker, 2000, stream="s")
    one.join(model)
    held: list[int] = []

    def all_but_the_newest_have_left() -> bool:
        held.append(one.pipeline.held[0])
        return one.committed() >= 2000

    one.turn_until(all_but_the_newest_have_left)
    assert MAX_HELD * MAX_RECORDS <= max(held) <= (MAX_HELD + MAX_IN_FLIGHT) * MAX_RECORDS
    # Full as it was, it went on when the silent stream's pending sample was let go.
    assert clock.monotonic_s() > SETTINGS.batch.idle_flush_s


def test_bytes_are_bounded_as_records_are(broker: InMemoryBroker, clock: ManualClock) -> None:
    settings = Settings(batch=BatchSettings(max_records=MAX_RECORDS, max_bytes=400))
    one, model = OneWorker(broker, clock, settings), MeanModel()
    send(broker, 200)
    model.may_answer.clear()
    one.join(model)
    for _ in range(30):
        one.worker.turn()
        clock.advance(0.5)
    # Two batches of 400 bytes and one poll of ten records of about 60 bytes.
    assert one.pipeline.buffered_bytes <= 2 * 400 + MAX_RECORDS * 80
    model.may_answer.set()
    one.turn_until(lambda: one.committed() == 200)

"""What retention took before it was read: said, counted, and lived with."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from stream_ae.errors import TransientError
from stream_ae.records import Partition, Position, RecordBatch
from stream_ae.settings import Settings
from stream_ae.telemetry import WorkerMetrics
from stream_ae.testing import InMemoryBroker, InMemorySource, ManualClock
from stream_ae.worker.retention import ASK_AGAIN_S, QUIET_S, RetentionCheck
from stream_ae.worker.status import StatusBoard
from tests.worker.fakes import OneWorker, broker_with_topics, sample

P0, P1 = Partition("raw", 0), Partition("raw", 1)
CUT = "retention cut the rewind span: windows begin padded"
LOST = "retention deleted records before they were read: they are lost, raise the raw topic's retention"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def broker(clock: ManualClock, settings: Settings) -> InMemoryBroker:
    return broker_with_topics(clock, settings.topics, partitions=2)


def send(broker: InMemoryBroker, count: int, first: int = 0) -> None:
    for second in range(first, first + count):
        broker.append("raw", sample(float(second), second), partition=0)


def answered(broker: InMemoryBroker, clock: ManualClock, settings: Settings, count: int) -> None:
    """A worker answers `count` records, commits them with what the next needs (three windows of four), and is gone."""
    one = OneWorker(broker, clock, settings, "w1")
    send(broker, count)
    one.join()
    one.turn_until(lambda: one.committed() == count)
    one.source.close()


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, Mapping[str, object]]]:
    found = [record for record in caplog.records if record.message in (CUT, LOST)]
    return [(record.levelname, record.message, vars(record)["fields"]) for record in found]


def counted(metrics: WorkerMetrics, name: str) -> float:
    value = metrics.registry.get_sample_value(f"stream_ae_{name}_total")
    assert value is not None
    return value


# -- a whole worker ----------------------------------------------------------------------------------------------------


def test_a_cut_rewind_span_is_said_and_counted_and_windows_begin_padded(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    answered(broker, clock, settings, 10)
    send(broker, 1, first=10)
    broker.delete_records(P0, before=9)
    two = OneWorker(broker, clock, settings, "w2")
    two.join()
    two.turn_until(lambda: two.committed() == 11)
    two.turn_until(lambda: bool(said(caplog)))
    assert said(caplog) == [("WARNING", CUT, {"partition": "raw/0", "rewind": 4, "oldest": 9, "live": 10})]
    assert (counted(two.metrics, "rewinds_cut"), counted(two.metrics, "lost_offsets")) == (1, 0)
    # Of the window 7, 8, 9, 10 only 9 and 10 are there.
    assert two.cleaned()[-1] == 9.25
    assert two.board.snapshot().lost == 0


def test_records_deleted_before_they_were_read_are_an_error_with_their_number(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    answered(broker, clock, settings, 10)
    send(broker, 5, first=10)
    broker.delete_records(P0, before=13)
    two = OneWorker(broker, clock, settings, "w2")
    two.join()
    two.turn_until(lambda: two.committed() == 15)
    two.turn_until(lambda: bool(said(caplog)))
    fields = {"partition": "raw/0", "rewind": 4, "committed": 10, "oldest": 13, "lost_offsets": 3}
    assert said(caplog) == [("ERROR", LOST, fields)]
    assert (counted(two.metrics, "rewinds_cut"), counted(two.metrics, "lost_offsets")) == (1, 3)
    assert two.board.snapshot().lost == 3
    assert two.cleaned()[-2:] == [13.0, 13.25]


def test_a_partition_that_holds_nothing_any_more_is_told_of_though_no_record_comes(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    answered(broker, clock, settings, 10)
    send(broker, 5, first=10)
    broker.delete_records(P0, before=15)
    two = OneWorker(broker, clock, settings, "w2")
    two.join()
    two.turn_until(lambda: bool(said(caplog)))
    assert said(caplog)[0][2]["lost_offsets"] == 5


def test_a_rewind_span_that_is_there_is_nothing_to_speak_of(
    broker: InMemoryBroker, clock: ManualClock, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    answered(broker, clock, settings, 10)
    send(broker, 1, first=10)
    broker.delete_records(P0, before=4)
    two = OneWorker(broker, clock, settings, "w2")
    two.join()
    two.turn_until(lambda: two.committed() == 11)
    clock.advance(2 * QUIET_S)
    two.worker.turn()
    assert said(caplog) == []
    assert counted(two.metrics, "rewinds_cut") == 0


# -- the check alone ---------------------------------------------------------------------------------------------------


class Asked(InMemorySource):
    """Notes what it is asked; without an answer while `silent`."""

    def __init__(self, broker: InMemoryBroker) -> None:
        super().__init__(broker, "group")
        self.asked: list[list[Partition]] = []
        self.silent = False

    def begins(self, partitions: Sequence[Partition], timeout_s: float) -> Mapping[Partition, int]:
        self.asked.append(list(partitions))
        if self.silent:
            raise TransientError("no broker answers")
        return super().begins(partitions, timeout_s)


class Checked:
    """A check on a broker whose partition 0 begins at 9, to be read from 5 on and answered from 20 on."""

    def __init__(self, broker: InMemoryBroker, clock: ManualClock) -> None:
        send(broker, 30)
        broker.delete_records(P0, before=9)
        self.source = Asked(broker)
        self.metrics = WorkerMetrics()
        self.check = RetentionCheck(self.source, StatusBoard("w", clock), self.metrics, clock)

    def assign(self, partition: Partition = P0, rewind: int = 5, committed: int = 20) -> None:
        self.check.assigned({partition: Position(committed)}, {partition: rewind})

    def first_is(self, offset: int, partition: Partition = P0) -> None:
        self.check.saw(
            RecordBatch(
                "raw",
                np.array([partition.number], np.int32),
                np.array([offset], np.int64),
                np.zeros(1, np.int64),
                [None],
                [b"v"],
                [()],
            )
        )
        self.check.look()

    @property
    def cut(self) -> float:
        return counted(self.metrics, "rewinds_cut")


@pytest.fixture
def one(broker: InMemoryBroker, clock: ManualClock) -> Checked:
    return Checked(broker, clock)


def test_where_the_first_record_is_the_one_wanted_nobody_is_asked(one: Checked, clock: ManualClock) -> None:
    one.assign(rewind=9)
    one.check.look()
    one.first_is(9)
    clock.advance(2 * QUIET_S)
    one.check.look()
    assert one.source.asked == []


def test_a_gap_above_the_beginning_of_the_partition_is_none_of_retention(one: Checked) -> None:
    one.assign(P1, rewind=5)
    one.first_is(7, P1)
    assert one.source.asked == [[P1]]
    assert one.cut == 0


def test_what_was_read_before_it_was_deleted_is_not_missing(one: Checked, caplog: pytest.LogCaptureFixture) -> None:
    """The first record was 7, so all but 5 and 6 was read, though the log begins at 9 when the brokers are asked."""
    one.assign(rewind=5, committed=6)
    one.first_is(7)
    assert said(caplog)[0][2] == {"partition": "raw/0", "rewind": 5, "committed": 6, "oldest": 7, "lost_offsets": 1}


def test_brokers_that_do_not_answer_are_asked_again_later(one: Checked, clock: ManualClock) -> None:
    one.source.silent = True
    one.assign()
    one.first_is(9)
    one.check.look()
    assert len(one.source.asked) == 1
    one.source.silent = False
    clock.advance(ASK_AGAIN_S)
    one.check.look()
    assert one.cut == 1


def test_it_is_told_once_an_assignment(one: Checked, caplog: pytest.LogCaptureFixture) -> None:
    one.assign()
    one.first_is(9)
    one.check.look()
    one.first_is(10)
    assert len(said(caplog)) == 1
    one.check.forget([P0])
    one.assign()
    one.first_is(9)
    assert len(said(caplog)) == 2


def test_going_back_after_a_failed_transaction_tells_nothing_again(
    one: Checked, caplog: pytest.LogCaptureFixture
) -> None:
    one.assign(rewind=5, committed=8)
    one.first_is(9)
    one.assign(rewind=5, committed=8)
    one.first_is(9)
    assert len(said(caplog)) == 1


def test_a_partition_without_a_commit_misses_nothing(one: Checked, clock: ManualClock) -> None:
    one.check.assigned({P0: None}, {})
    one.first_is(9)
    clock.advance(2 * QUIET_S)
    one.check.look()
    assert one.source.asked == []


def test_a_partition_that_has_gone_to_another_worker_is_not_asked_about(one: Checked, clock: ManualClock) -> None:
    one.assign()
    one.check.forget([P0])
    clock.advance(2 * QUIET_S)
    one.check.look()
    assert one.source.asked == []

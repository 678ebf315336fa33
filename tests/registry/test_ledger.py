"""Points wait while MLflow is away, bounded, and are written in order when it is back."""

import logging

import pytest

from stream_ae.ports import Point
from stream_ae.records import ModelIdentity
from stream_ae.registry.ledger import Ledger
from stream_ae.testing import InMemoryRunLog

V1 = ModelIdentity("pump", "1", "aa")
V2 = ModelIdentity("pump", "2", "bb")


@pytest.fixture
def runs() -> InMemoryRunLog:
    return InMemoryRunLog()


def point(second: int) -> Point:
    return Point(1000 * second, {"lag": float(second)})


def test_what_was_noted_while_the_server_was_away_is_written_in_order_when_it_is_back(
    runs: InMemoryRunLog, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(runs)
    caplog.set_level(logging.INFO)
    runs.away()
    for second in range(100):
        ledger.note(V1, point(second))
        ledger.note(V2, point(second))
        ledger.tag(V1, "alert", f"at {second}")
        assert ledger.write() == []
    runs.back()
    assert len(ledger.write()) == 2
    assert runs.of(V1).metric("lag") == runs.of(V2).metric("lag") == [float(second) for second in range(100)]
    assert runs.of(V1).tags == {"alert": "at 99"}
    assert [record.message for record in caplog.records] == ["not written to MLflow", "written to MLflow again"]


def test_the_oldest_points_are_dropped_and_that_is_said_once(
    runs: InMemoryRunLog, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(runs, most=3)
    runs.away()
    for second in range(10):
        ledger.note(V1, point(second))
    runs.back()
    ledger.write()
    assert runs.of(V1).metric("lag") == [7.0, 8.0, 9.0]
    assert [record.message for record in caplog.records].count("points dropped: MLflow has been away for too long") == 1


def test_a_run_deleted_by_hand_is_opened_anew_and_no_point_is_lost(runs: InMemoryRunLog) -> None:
    ledger = Ledger(runs)
    ledger.note(V1, point(1))
    ledger.write()
    runs.of(V1).deleted = True
    ledger.note(V1, point(2))
    ledger.write()
    ledger.note(V1, point(3))
    ledger.write()
    assert runs.of(V1).metric("lag") == [2.0, 3.0]


def test_a_version_that_left_is_closed_can_be_tagged_and_comes_back(runs: InMemoryRunLog) -> None:
    ledger = Ledger(runs)
    ledger.note(V1, point(1))
    ledger.leave(V1)
    ledger.write()
    assert not runs.of(V1).in_service
    ledger.tag(V1, "note", "afterwards")
    ledger.write()
    assert (runs.of(V1).tags, runs.of(V1).in_service) == ({"note": "afterwards"}, False)
    ledger.note(V1, point(2))
    ledger.write()
    assert runs.of(V1).in_service
    assert runs.of(V1).metric("lag") == [1.0, 2.0]


def test_a_picture_is_kept_at_once_or_dropped_and_that_is_said_once(
    runs: InMemoryRunLog, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(runs)
    ledger.picture(V1, "worst/0.png", b"of a version without a run")
    ledger.note(V1, point(1))
    ledger.write()
    ledger.picture(V1, "worst/1.png", b"1")
    runs.away()
    ledger.picture(V1, "worst/2.png", b"2")
    ledger.picture(V1, "worst/3.png", b"3")
    ledger.note(V1, point(2))
    ledger.write()
    runs.back()
    ledger.write()
    ledger.picture(V1, "worst/4.png", b"4")
    assert runs.of(V1).pictures == {"worst/1.png": b"1", "worst/4.png": b"4"}
    assert runs.of(V1).metric("lag") == [1.0, 2.0]
    assert [record.message for record in caplog.records].count("picture dropped") == 1

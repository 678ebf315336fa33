import threading

import pytest

from stream_ae.testing import ManualClock


def test_time_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(wall_ms=5_000)
    assert (clock.monotonic_s(), clock.wall_ms()) == (0.0, 5_000)
    clock.advance(1.5)
    assert (clock.monotonic_s(), clock.wall_ms()) == (1.5, 6_500)


def test_time_cannot_go_back() -> None:
    with pytest.raises(ValueError, match="back"):
        ManualClock().advance(-1)


def test_a_wait_ends_when_time_has_come() -> None:
    clock, woken = ManualClock(), threading.Event()

    def wait() -> None:
        assert not clock.wait(threading.Event(), 10.0)
        woken.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    # However the threads are scheduled, the wait begins at 0, 4 or 8 and ends by 18.
    for _ in range(5):
        clock.advance(4.0)
    assert woken.wait(10.0)
    waiter.join()


def test_a_wait_ends_when_its_event_is_set() -> None:
    clock, event = ManualClock(), threading.Event()
    answers: list[bool] = []
    waiter = threading.Thread(target=lambda: answers.append(clock.wait(event, 1e9)))
    waiter.start()
    event.set()
    waiter.join(10.0)
    assert answers == [True]


def test_a_clock_that_moves_itself_never_waits() -> None:
    clock = ManualClock(moves_itself=True)
    assert not clock.wait(threading.Event(), 60.0)
    assert clock.monotonic_s() == 60.0

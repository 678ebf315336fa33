"""What every JobHistory promises: the one in memory and the one on Redis."""

from collections.abc import Callable, Iterator

import pytest

from stream_ae.clock import SystemClock
from stream_ae.errors import TransientError
from stream_ae.ports import JobHistory, JobRun
from stream_ae.registry import job_history
from stream_ae.registry.job_history import RedisJobHistory
from stream_ae.settings import RedisSettings
from stream_ae.testing import InMemoryJobHistory, InMemoryRedis

NOON_MS = 1_700_000_000_000
KEPT = 5

Connect = Callable[[str], JobHistory]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.servers)])
def connect(
    request: pytest.FixtureRequest, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Connect]:
    """Makes clients of one server, each of a pipeline; they remember 5 runs."""
    opened: list[RedisJobHistory] = []
    server, suffix = InMemoryRedis(SystemClock()), unique("")
    monkeypatch.setattr(job_history, "KEPT", KEPT)
    url = "" if request.param == "memory" else request.getfixturevalue("redis_url")

    def connected(pipeline: str) -> JobHistory:
        if not url:
            return InMemoryJobHistory(server, pipeline, KEPT)
        settings = RedisSettings.model_validate({"url": url, "timeout_s": 5.0})
        opened.append(RedisJobHistory(settings, pipeline + suffix))
        return opened[-1]

    yield connected
    for history in opened:
        history.close()


def run(at: int, job: str = "retrain", ended: int = 0, code: int = 0) -> JobRun:
    return JobRun(job, NOON_MS + at, NOON_MS + ended if ended else 0, code)


def test_there_is_no_run_before_the_first(connect: Connect) -> None:
    assert connect("pump").runs() == []


def test_runs_are_told_newest_first_and_by_whoever_asks(connect: Connect) -> None:
    history = connect("pump")
    for at in (5, 900_000_000_000, 7):
        history.note(run(at))
    assert connect("pump").runs() == [run(900_000_000_000), run(7), run(5)]
    assert connect("pump").runs(limit=2) == [run(900_000_000_000), run(7)]


def test_the_end_of_a_run_replaces_its_beginning(connect: Connect) -> None:
    history = connect("pump")
    history.note(run(1))
    history.note(run(1, job="adapt"))
    history.note(run(1, ended=9, code=3))
    assert sorted(history.runs(), key=lambda one: one.job) == [run(1, job="adapt"), run(1, ended=9, code=3)]


def test_the_oldest_of_many_runs_are_forgotten(connect: Connect) -> None:
    history = connect("pump")
    for at in range(9):
        history.note(run(at))
    assert history.runs() == [run(at) for at in (8, 7, 6, 5, 4)]


def test_pipelines_do_not_see_each_other(connect: Connect) -> None:
    connect("pump").note(run(1))
    assert connect("fan").runs() == []


def test_a_server_that_is_away_is_said_in_time() -> None:
    nobody = RedisSettings.model_validate({"url": "redis://127.0.0.1:1/0", "timeout_s": 0.5})
    server = InMemoryRedis(SystemClock())
    server.away()
    for history in (RedisJobHistory(nobody, "pump"), InMemoryJobHistory(server)):
        with pytest.raises(TransientError):
            history.note(run(1))
        with pytest.raises(TransientError):
            history.runs()

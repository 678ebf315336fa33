"""`status` as a person sees it."""

import io

from rich.console import Console

from stream_ae.cli.status import Picture, drawn
from stream_ae.ports import Desired, JobRun
from stream_ae.records import ModelIdentity
from stream_ae.status import Health, ShadowStatus, WorkerStatus

MODEL = ModelIdentity("pumps", "3", "d" * 64)


def shown(picture: Picture) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(drawn(picture, now_ms=61_500))
    return console.export_text()


def test_workers_versions_and_lag_are_shown() -> None:
    worker = WorkerStatus(
        "w1", Health.RUNNING, MODEL, 60_000, 0, records=12_345, flagged=6, lag=7, partitions=("raw/0",)
    )
    text = shown(Picture("pumps", (worker,), Desired(MODEL, 1, "retrained"), "pumps/3", {"raw/0": 7}, ()))
    for part in ("champion pumps/3", "desired pumps/3 (retrained)", "lag 7", "w1", "running", "12,345", "1.5"):
        assert part in text


def test_what_is_wrong_is_said_even_without_a_worker() -> None:
    text = shown(Picture("pumps", (), None, "", {"raw/0": 7}, ("MLflow at x:1 is not reached",)))
    assert "no worker is running" in text
    assert "MLflow at x:1 is not reached" in text


def test_what_a_server_that_is_away_did_not_tell_is_called_unknown_and_not_nothing() -> None:
    text = shown(Picture("pumps", (), None, "", {}, ("Redis at x:1 is not reached",), workers_read=False))
    assert "workers unknown" in text
    assert "no worker is running" not in text
    assert "lag unknown" in text


def test_a_worker_that_refused_a_version_says_why() -> None:
    worker = WorkerStatus("w1", Health.DEGRADED, MODEL, 60_000, 0, problems=("version 4 refused: digest",))
    assert "w1: version 4 refused: digest" in shown(Picture("pumps", (worker,), None, "", {}, ()))


def test_what_retention_deleted_before_it_was_read_is_shown() -> None:
    worker = WorkerStatus("w1", Health.RUNNING, MODEL, 60_000, 0, lost=1234)
    shown_text = shown(Picture("pumps", (worker,), None, "", {}, ()))
    assert "w1: retention deleted 1,234 offsets before they were read" in shown_text


def test_a_challenger_beside_the_champion_is_shown_with_what_it_would_do() -> None:
    shadow = ShadowStatus(ModelIdentity("pumps", "4", "e" * 64), 2000, 30, 10, 1980, 40, 0.1)
    worker = WorkerStatus("w1", Health.RUNNING, MODEL, 60_000, 0, shadow=shadow)
    text = shown(Picture("pumps", (worker,), None, "", {}, ()))
    assert "w1: shadow pumps/4 flags 1.50% (the champion 0.50%), agrees on 99.00% of 2,000 windows, 2.5 ms a b" in text
    fresh = WorkerStatus("w1", Health.RUNNING, MODEL, 60_000, 0, shadow=ShadowStatus(shadow.model))
    assert "w1: shadow pumps/4 has answered nothing yet" in shown(Picture("pumps", (fresh,), None, "", {}, ()))


def test_the_newest_runs_of_scheduled_jobs_are_shown_with_how_they_ended() -> None:
    run = JobRun("retrain", 1_700_000_000_000, 1_700_000_061_000, 3)
    text = shown(Picture("pumps", (), None, "", {}, (), (run,)))
    assert "retrain  2023-11-14 22:13:20 UTC      61 s  exit code 3: the champion was better and stays" in text

"""Challenger against champion: nothing may be worse, and every criterion says how it was decided."""

from dataclasses import replace

import numpy as np
import pytest

from stream_ae.flow.window import windows_of
from stream_ae.settings import TrainingSettings
from stream_ae.training import Evaluation, evaluate, train
from stream_ae.training.evaluate import timed
from stream_ae.training.gate import verdict
from stream_ae.training.inject import FAULTS, LENGTH, injected
from tests.training.test_adapt import rows

GOOD = Evaluation(loss=0.5, flagged_share=0.005, windows=5000, found={"spike": 0.9, "shift": 0.7}, batch_ms=2.0)


def test_the_first_version_is_promoted_if_it_answers_and_does_not_flag_everything() -> None:
    assert verdict(GOOD, None, 0.05, 0.005).promote
    assert not verdict(replace(GOOD, loss=float("nan")), None, 0.05, 0.005).promote
    assert "false alarms" in verdict(replace(GOOD, flagged_share=0.3), None, 0.05, 0.005).reason


@pytest.mark.parametrize(
    ("challenger", "named"),
    [
        (replace(GOOD, loss=0.53), "loss 0.53 against the champion's 0.5 (limit 0.525)"),
        (replace(GOOD, flagged_share=0.02), "false alarms 0.02 against the champion's 0.005 (limit 0.015)"),
        (
            replace(GOOD, found={"spike": 0.7, "shift": 0.6}),
            "faults found 0.645 against the champion's 0.795 (limit 0.7352)",
        ),
        (replace(GOOD, batch_ms=6.1), "batch ms 6.1 against the champion's 2 (limit 6)"),
    ],
)
def test_one_criterion_that_is_worse_keeps_the_champion_and_is_named(challenger: Evaluation, named: str) -> None:
    judged = verdict(challenger, GOOD, 0.05, 0.005)
    assert not judged.promote
    assert judged.reason == f"worse: {named}"


@pytest.mark.parametrize(
    ("labelled", "named"),
    [
        ({"anomaly": 0.5, "normal": 0.1}, "labelled anomalies found 0.5 against the champion's 0.75 (limit 0.6925)"),
        ({"anomaly": 0.8, "normal": 0.2}, "labelled normal flagged 0.2 against the champion's 0.1 (limit 0.105)"),
    ],
)
def test_what_operators_labelled_must_not_be_judged_worse(labelled: dict[str, float], named: str) -> None:
    champion = replace(GOOD, labelled={"anomaly": 0.75, "normal": 0.1})
    judged = verdict(replace(GOOD, labelled=labelled), champion, 0.05, 0.005)
    assert judged.reason == f"worse: {named}"
    assert verdict(replace(GOOD, labelled={"anomaly": 0.7, "normal": 0.0}), champion, 0.05, 0.005).promote


def test_labels_decide_nothing_about_a_first_version() -> None:
    assert verdict(replace(GOOD, labelled={"anomaly": 0.0, "normal": 1.0}), None, 0.05, 0.005).promote


def test_what_is_within_the_tolerance_is_promoted() -> None:
    near = Evaluation(0.52, 0.01, 5000, {"spike": 0.88, "shift": 0.68}, 3.0)
    assert verdict(near, GOOD, 0.05, 0.005).promote


def test_a_champion_that_answers_nothing_is_replaced() -> None:
    assert verdict(GOOD, replace(GOOD, loss=float("nan")), 0.05, 0.005).promote


def test_a_champion_that_flags_everything_has_found_nothing_by_it() -> None:
    blind = replace(GOOD, flagged_share=1.0, found={"spike": 1.0, "shift": 1.0})
    assert verdict(GOOD, blind, 0.05, 0.005).promote
    assert not verdict(blind, GOOD, 0.05, 0.005).promote


def test_batches_of_challenger_and_champion_are_timed_in_turn() -> None:
    called: list[str] = []
    times = timed([lambda: called.append("challenger"), lambda: called.append("champion")])
    assert len(times) == 2
    assert called == ["challenger", "champion"] * (len(called) // 2)
    assert len(called) > 2


def test_every_criterion_is_told_with_its_limit_and_whether_it_was_passed() -> None:
    judged = verdict(replace(GOOD, loss=0.6), GOOD, 0.05, 0.005)
    metrics = judged.metrics()
    assert metrics["gate_loss"] == 0.6
    assert metrics["gate_loss_limit"] == pytest.approx(0.525)
    assert (metrics["gate_loss_passed"], metrics["gate_faults_found_passed"]) == (0.0, 1.0)
    assert judged.tags()["stream_ae.gate.loss"].startswith("failed: loss 0.6")


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_ends_at_the_target_and_is_the_same_however_long_the_windows_are(kind: str) -> None:
    x = rows(400)
    spread = x.std(0).astype(np.float64)
    short, long = windows_of(x, 12)[100:150].copy(), windows_of(x, 40)[100:150].copy()
    spoilt, longer = injected(short, 11, kind, spread, 3), injected(long, 39, kind, spread, 3)
    np.testing.assert_array_equal(spoilt, longer[..., -12:])
    changed = spoilt != short
    assert changed[..., -LENGTH:].any(axis=(1, 2)).mean() > 0.9
    assert not changed[..., :-LENGTH].any()
    # One channel of two: a fifth, but at least one.
    assert (changed.any(2).sum(1) <= 1).all()


def test_missing_values_stay_missing_under_a_fault() -> None:
    windows = windows_of(rows(60), 12).copy()
    windows[:, :, 5] = np.nan
    for kind in FAULTS:
        assert np.isnan(injected(windows, 11, kind, np.ones(2), 0)[:, :, 5]).all()


def test_a_detector_that_flags_nothing_finds_no_fault_and_one_that_was_trained_finds_many() -> None:
    options = TrainingSettings(window=16, max_epochs=6, threads=1)
    trained = train([rows(3000)], ("a", "b"), options)
    found = evaluate(trained.detector, trained.held_out)
    assert found.found["spike"] > 0.8
    assert np.mean(list(found.found.values())) > 0.5
    blind = replace(trained.detector, scoring=replace(trained.detector.scoring, threshold=1e9))
    missed = evaluate(blind, trained.held_out)
    assert max(missed.found.values()) == 0.0
    assert not verdict(missed, found, 0.05, 0.005).promote

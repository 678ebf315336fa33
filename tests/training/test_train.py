"""The front door of training."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stream_ae.errors import ConfigError, ModelError
from stream_ae.models.detector import Detector
from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.testing import ManualClock
from stream_ae.training import Epoch, Trained, evaluate, train
from stream_ae.training.dataset import HeldOut

OPTIONS = TrainingSettings(window=8, max_epochs=3, threads=1)


def _wave(rows: int, level: float = 0.0, seed: int = 0) -> Float32:
    generator = np.random.default_rng(seed)
    waves = np.sin(np.arange(rows)[:, None] / np.array([3.0, 5.0]))
    return np.asarray(level + waves + generator.normal(0, 0.05, (rows, 2)), np.float32)


def _trained(options: TrainingSettings = OPTIONS, rows: Float32 | None = None) -> Trained:
    return train([_wave(600) if rows is None else rows], ("a", "b"), options)


def _weights(detector: Detector) -> torch.Tensor:
    return torch.cat([part.flatten() for part in detector.network.autoencoder.state_dict().values()])


def test_the_same_data_and_seed_give_the_same_weights_whatever_was_drawn_before() -> None:
    once = _trained().detector
    torch.randn(7)
    again = _trained().detector
    assert torch.equal(_weights(once), _weights(again))
    assert once.scoring.fused.config() == again.scoring.fused.config()


def test_another_seed_gives_other_weights() -> None:
    other = _trained(OPTIONS.model_copy(update={"seed": 1}))
    assert not torch.equal(_weights(_trained().detector), _weights(other.detector))


def test_training_leaves_torch_as_it_was() -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    _trained()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_best_epoch_is_kept_and_training_stops_after_patience() -> None:
    # A learning rate so high that the loss soon gets worse.
    options = OPTIONS.model_copy(update={"max_epochs": 40, "patience": 2, "learning_rate": 0.05})
    heard: list[Epoch] = []
    report = train([_wave(600)], ("a", "b"), options, progress=heard.append).report
    losses = [epoch.validation_loss for epoch in heard]
    assert report.epochs == len(heard) < 40
    assert report.best_epoch == int(np.argmin(losses)) + 1 == len(heard) - 2
    assert report.validation_loss == min(losses)
    assert heard[0].of == 40


def _passing(clock: ManualClock, seconds: float, heard: list[Epoch]) -> Callable[[Epoch], None]:
    """Each epoch takes so long."""

    def hear(epoch: Epoch) -> None:
        heard.append(epoch)
        clock.advance(seconds)

    return hear


def test_training_stops_when_its_time_is_up_and_keeps_the_best_epoch() -> None:
    clock, heard = ManualClock(), list[Epoch]()
    # A learning rate so high that an epoch before the last is the best.
    options = OPTIONS.model_copy(
        update={"max_epochs": 40, "patience": 40, "learning_rate": 0.05, "time_budget_s": 60.0}
    )
    report = train([_wave(600)], ("a", "b"), options, progress=_passing(clock, 10.0, heard), clock=clock).report
    assert report.epochs == len(heard) == 6
    assert report.validation_loss == min(epoch.validation_loss for epoch in heard)


def test_time_that_is_up_before_the_first_epoch_still_gives_a_model() -> None:
    class Hurried(ManualClock):
        def monotonic_s(self) -> float:
            self.advance(1.0)
            return super().monotonic_s()

    options = OPTIONS.model_copy(update={"time_budget_s": 0.5})
    trained = train([_wave(600)], ("a", "b"), options, clock=Hurried())
    assert trained.report.epochs == 1
    assert np.isfinite(trained.detector.infer(np.zeros((1, 2, 8), np.float32)).score).all()


def test_without_a_time_budget_the_clock_does_not_count() -> None:
    clock, heard = ManualClock(), list[Epoch]()
    train([_wave(600)], ("a", "b"), OPTIONS, progress=_passing(clock, 1e9, heard), clock=clock)
    assert len(heard) == OPTIONS.max_epochs


def test_raising_in_the_callback_cancels() -> None:
    def cancel(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([_wave(600)], ("a", "b"), OPTIONS, progress=cancel)


def test_one_model_serves_streams_at_several_levels() -> None:
    options = OPTIONS.model_copy(update={"max_epochs": 6})
    detector = train([_wave(1000, level, seed) for seed, level in enumerate((0.0, 20.0, -50.0))], ("a", "b"), options)
    for level in (0.0, 20.0, -50.0):
        held_out = HeldOut([_wave(500, level, seed=9)], [8])
        # Of normal rows at any of the levels 0.5 % should be flagged; the calibration saw 600 rows in all.
        assert evaluate(detector.detector, held_out).flagged_share < 0.05


def test_odd_channels_are_learnt_beside_the_others() -> None:
    rows = np.c_[_wave(600), np.full(600, 7.0), np.zeros(600), np.full(600, np.nan)].astype(np.float32)
    rows[::7, 0] = np.nan
    trained = train([rows], ("a", "b", "constant", "zero", "silent"), OPTIONS)
    assert "channel 'silent' never has a value" in trained.report.warnings
    windows = np.repeat(rows[-8:].T[None], 2, axis=0)
    windows[1, 2] += 1.0
    answer = trained.detector.infer(windows)
    assert np.isfinite(answer.x_hat).all()
    assert answer.x_hat[0, 2:4].tolist() == pytest.approx([7.0, 0.0], abs=0.1)
    assert answer.score[1] > answer.score[0]


def test_the_report_counts_what_was_used() -> None:
    report = train([_wave(500), _wave(0), _wave(300)], ("a", "b"), OPTIONS).report
    assert (report.streams, report.rows, report.held_out) == (2, 800, 160)
    assert report.metrics()["windows"] == 576.0


def test_units_must_fit_the_channels() -> None:
    with pytest.raises(ConfigError, match="1 units for 2 channels"):
        train([_wave(600)], ("a", "b"), OPTIONS, units=["K"])


def test_values_only_at_the_beginning_are_refused() -> None:
    rows = _wave(600)
    rows[300:] = np.nan
    with pytest.raises(ConfigError, match="0 to calibrate on"):
        _trained(rows=rows)


def test_a_trained_model_beats_a_barely_trained_one_on_hidden_values() -> None:
    barely = _trained(OPTIONS.model_copy(update={"max_epochs": 1, "learning_rate": 1e-6}))
    well = _trained(OPTIONS.model_copy(update={"max_epochs": 10}))
    before, after = evaluate(barely.detector, barely.held_out), evaluate(well.detector, barely.held_out)
    assert after.loss < 0.8 * before.loss
    assert after.windows == 120


def test_models_of_different_windows_are_measured_on_the_same_rows() -> None:
    short, long = _trained(), _trained(OPTIONS.model_copy(update={"window": 16, "lookahead": 2}))
    assert evaluate(short.detector, long.held_out).windows == evaluate(long.detector, long.held_out).windows == 120


def test_measuring_is_repeatable() -> None:
    trained = _trained()
    assert evaluate(trained.detector, trained.held_out) == evaluate(trained.detector, trained.held_out)


def test_there_must_be_something_to_measure_on() -> None:
    with pytest.raises(ModelError, match="no held-out row"):
        evaluate(_trained().detector, HeldOut([_wave(10)], [10]))

"""Noise transforms: seeded, of the size that was asked for, and the input is left as it was."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.models.noise import ANY_NOISE, Drift, Gaussian, Masking, Spikes, Swap, Transform

KINDS: list[Transform] = [Gaussian(), Masking(), Spikes(), Drift(), Swap(), ANY_NOISE]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _windows() -> torch.Tensor:
    return torch.randn(16, 2, 64, generator=_generator(7))


@pytest.mark.parametrize("spoil", KINDS, ids=lambda kind: type(kind).__name__)
@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_the_same_seed_spoils_alike_and_leaves_the_input_alone(spoil: Transform, seed: int) -> None:
    x = _windows()
    once, again = spoil(x, _generator(seed)), spoil(x, _generator(seed))
    assert torch.equal(torch.nan_to_num(once, nan=1e9), torch.nan_to_num(again, nan=1e9))
    assert torch.equal(x, _windows())
    assert once.shape == x.shape


@pytest.mark.parametrize("db", [0.0, 6.0, 20.0])
def test_gaussian_noise_has_the_ratio_that_was_asked_for(db: float) -> None:
    x = torch.zeros(100, 10, 100)
    power = float(Gaussian(db, db)(x, _generator()).square().mean())
    # 100,000 draws: the power is within 0.5 % (one sigma); 0.1 dB is 2.3 %.
    assert abs(-10 * torch.log10(torch.tensor(power)).item() - db) < 0.1


def test_masking_loses_single_values_spans_and_channels_as_nan() -> None:
    x = _windows()
    single, spans = Masking(1.0, 0.0, 0.0)(x, _generator()), Masking(0.0, 1.0, 0.0)(x, _generator())
    broken = Masking(0.0, 0.0, 1.0)(x, _generator())
    assert 0.2 < single.isnan().float().mean() < 0.8
    # One gap a channel, at most an eighth of the window.
    edges = spans.isnan().float().diff(dim=-1).clamp(min=0).sum(-1)
    assert bool((edges <= 1).all())
    assert int(spans.isnan().sum(-1).max()) <= 8
    # Once lost, a channel stays lost.
    assert bool((broken.isnan().float().diff(dim=-1) >= 0).all())
    assert bool(broken[..., -1].isnan().all())


def test_spikes_leave_the_other_values_alone() -> None:
    x = _windows()
    spiked = Spikes(share=0.9, size=100.0)(x, _generator())
    assert 0.1 < (spiked != x).float().mean() < 0.5


def test_drift_is_slow() -> None:
    drift = Drift(size=1.0)(torch.zeros(32, 1, 256), _generator())
    assert drift.diff(dim=-1).square().mean() < 0.01 * drift.square().mean()


def test_swapped_values_are_those_of_other_windows_at_the_same_place() -> None:
    x = torch.arange(16.0)[:, None, None] * 1000 + torch.arange(64.0).expand(16, 2, 64)
    assert torch.equal(Swap(0.5)(x, _generator()) % 1000, x % 1000)

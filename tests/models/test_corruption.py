import torch

from stream_ae.models.corruption import Corruption


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_corrupts_alike_and_leaves_the_target_clean() -> None:
    x = torch.ones(8, 2, 6)
    once, again = Corruption()(x, _generator()), Corruption()(x, _generator())
    assert torch.equal(once, again)
    assert torch.equal(x, torch.ones(8, 2, 6))
    assert not torch.equal(once, Corruption()(x, _generator(1)))


def test_no_corruption_is_the_identity() -> None:
    x = torch.randn(4, 2, 6, generator=_generator())
    assert torch.equal(Corruption(noise=0.0, windows=0.0)(x, _generator()), x)


def test_lost_values_are_filled_in_as_in_serving() -> None:
    ramp = torch.arange(6.0).expand(64, 1, 6)
    corrupted = Corruption(noise=0.0, values=0.5, channels=0.0, windows=1.0)(ramp, _generator())
    lost = corrupted != ramp
    # A ramp from 0: values before the first one seen take it (higher), all others the one before (lower).
    assert 0.3 < lost.float().mean() < 0.7
    assert (corrupted.diff(dim=-1) >= 0).all()


def test_noise_has_the_size_that_was_asked_for() -> None:
    corrupted = Corruption(noise=0.5, windows=0.0)(torch.zeros(100, 10, 10), _generator())
    # 10,000 draws: the standard deviation is within 0.7 % (one sigma); 5 % is seven of them.
    assert abs(corrupted.std().item() / 0.5 - 1.0) < 0.05

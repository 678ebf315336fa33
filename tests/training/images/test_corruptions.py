"""Corruptions of images do what they say, alike for the same seed."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from stream_ae.models.normaliser import Normaliser
from stream_ae.training.images.corruptions import (
    Blocks,
    Blur,
    Corruption,
    Photons,
    SaltAndPepper,
    White,
    any_corruption,
    black_and_white,
    lost_blocks,
    neighbours,
)

LOW, HIGH = torch.tensor([-1.0, -2.0])[:, None, None], torch.tensor([3.0, 5.0])[:, None, None]
ONES = torch.ones(2, 1)
NORMALISER = Normaliser(centre=0.0 * ONES, scale=ONES, low=-5.0 * ONES, high=7.0 * ONES, recentre=0.0)


def _generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def _frames(value: float = 1.0) -> Tensor:
    return torch.full((64, 2, 20, 24), value)


@pytest.mark.parametrize(
    "corruption",
    [White(), Photons(LOW, HIGH), SaltAndPepper(LOW, HIGH), Blocks(LOW), Blur(), any_corruption(NORMALISER)],
    ids=lambda corruption: type(corruption).__name__,
)
def test_the_same_seed_spoils_alike_and_leaves_the_original(corruption: Corruption) -> None:
    x = torch.randn(8, 2, 20, 24, generator=_generator(5))
    before = x.clone()
    first, second = corruption(x, _generator()), corruption(x, _generator())
    torch.testing.assert_close(first, second, equal_nan=True)
    assert torch.equal(x, before)
    assert not torch.equal(torch.nan_to_num(first), x)


def test_white_noise_has_the_size_that_was_asked_for() -> None:
    noise = White(0.5, 0.5)(_frames(), _generator()) - 1.0
    assert float(noise.std()) == pytest.approx(0.5, rel=0.02)


def test_fewer_photons_are_noisier_and_the_mean_stays() -> None:
    few, many = (Photons(LOW, HIGH, count, count)(_frames(), _generator())[:, 0] for count in (10.0, 200.0))
    assert float(few.mean()) == pytest.approx(1.0, abs=0.05)
    # (1 - -1) / (3 - -1) of white is 0.5: variance of 10 photons 0.5 / 10 of 4 squared, without the read-out's.
    assert float(few.var()) == pytest.approx(0.5 / 10 * 16, rel=0.05)
    assert many.var() < few.var() / 10


def test_salt_and_pepper_are_white_and_black_in_all_channels_at_once() -> None:
    spoilt = SaltAndPepper(LOW, HIGH, 0.2, 0.2)(_frames(), _generator())
    assert set(spoilt[:, 0].flatten().tolist()) == {-1.0, 1.0, 3.0}
    assert float((spoilt[:, 0] != 1.0).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert torch.equal(spoilt[:, 0] == 3.0, spoilt[:, 1] == 5.0)


def test_a_lost_block_is_one_rectangle_no_larger_than_asked_for() -> None:
    for inside in lost_blocks(_frames(), 0.25, _generator())[:, 0].numpy():
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        assert 1 <= len(rows) <= 5
        assert 1 <= len(columns) <= 6
        assert inside.sum() == len(rows) * len(columns)


def test_blocks_become_missing_or_dark() -> None:
    spoilt = Blocks(LOW, dark=0.5)(_frames(), _generator())
    missing, dark = torch.isnan(spoilt[:, 0]).any(-1).any(-1), (spoilt[:, 0] == -1.0).any(-1).any(-1)
    assert (missing ^ dark).all()
    assert 10 < int(dark.sum()) < 54


def test_blur_leaves_a_flat_frame_and_what_is_missing() -> None:
    x = _frames()
    x[:, :, 3, 3] = torch.nan
    torch.testing.assert_close(Blur()(x, _generator()), x, equal_nan=True)


def test_a_neighbour_is_near_and_never_the_pixel_itself() -> None:
    numbers = torch.arange(20.0 * 24).view(1, 1, 20, 24).expand(32, 2, 20, 24)
    rows, columns = (numbers // 24, numbers % 24)
    found = neighbours(numbers, _generator())
    down, right = (found // 24 - rows).abs(), (found % 24 - columns).abs()
    assert float(torch.maximum(down, right).max()) == 2
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    assert bool((found != numbers)[inner].all())
    assert torch.equal(found[:, 0], found[:, 1])


def test_neighbours_of_a_frame_of_one_pixel_are_itself() -> None:
    assert neighbours(torch.ones(2, 1, 1, 1), _generator()).shape == (2, 1, 1, 1)


def test_black_and_white_are_the_ends_of_what_was_seen() -> None:
    low, high = black_and_white(NORMALISER)
    assert low.flatten().tolist() == [-1.0, -1.0]
    assert high.flatten().tolist() == [3.0, 3.0]

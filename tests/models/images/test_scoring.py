"""Errors of frames become scores and maps."""

import numpy as np
import torch

from stream_ae.models.images.scoring import Contrasts, blurred, contrasts, shares


def test_smoothing_leaves_a_flat_frame_flat_up_to_its_edges() -> None:
    torch.testing.assert_close(blurred(torch.full((1, 2, 9, 7), 3.0), 1.5), torch.full((1, 2, 9, 7), 3.0))


def test_smoothing_averages_over_observed_pixels_only() -> None:
    x, observed = torch.full((1, 1, 9, 9), 2.0), torch.ones(1, 1, 9, 9, dtype=torch.bool)
    x[..., 4, 4], observed[..., 4, 4] = torch.nan, False
    torch.testing.assert_close(blurred(x, 1.0, observed), torch.full((1, 1, 9, 9), 2.0))


def test_smoothing_where_nothing_was_observed_gives_0() -> None:
    nothing = torch.zeros(1, 1, 5, 5, dtype=torch.bool)
    assert (blurred(torch.full((1, 1, 5, 5), torch.nan), 1.0, nothing) == 0).all()


def test_contrast_is_the_spread_around_each_channels_mean() -> None:
    x = torch.tensor([[[[0.0, 2.0]], [[10.0, 12.0]]]])
    torch.testing.assert_close(contrasts(x, None), torch.tensor([1.0]))


def test_contrast_of_what_was_observed_is_that_of_the_rest_left_out() -> None:
    x = torch.tensor([[[[0.0, 2.0, 99.0]]]])
    torch.testing.assert_close(contrasts(x, x < 50), torch.tensor([1.0]))


def test_a_glaring_frame_is_forgiven_no_more_than_the_most_glaring_normal_one() -> None:
    sizes = Contrasts(usual=1.0, least=0.1, most=2.0).sizes(torch.tensor([1.0, 2.0, 50.0, 0.0]))
    torch.testing.assert_close(sizes, torch.tensor([1.0, 2.0**1.5, 2.0**1.5, 0.1**1.5]))


def test_shares_sum_to_1_and_are_even_where_nothing_is_wrong() -> None:
    found = shares(torch.stack((torch.zeros(1, 2, 2), torch.tensor([[[1.0, 3.0], [0.0, 0.0]]]))))
    np.testing.assert_allclose(found, [[0.25] * 4, [0.25, 0.75, 0.0, 0.0]])

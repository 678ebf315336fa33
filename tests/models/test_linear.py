"""What linear components of recent samples leave."""

import numpy as np
import pytest
import torch

from stream_ae.models.linear import LIMIT, LinearView


def _view(components: torch.Tensor | None = None) -> LinearView:
    """Two channels, two samples, both on scale 1 about 0; no component unless given."""
    nothing = torch.zeros(4, 1)
    return LinearView(
        torch.zeros(2, 1),
        torch.ones(2, 1),
        torch.zeros(4),
        components if components is not None else nothing,
        torch.tensor([1.0, 2.0]),
    )


def test_without_components_a_channel_contributes_its_mean_square_over_its_level() -> None:
    windows = torch.tensor([[[9.0, 1.0, 3.0], [9.0, 2.0, 0.0]]])
    # (1 + 9) / 2 / 1 and (4 + 0) / 2 / 2: the first sample is older than what the view looks at.
    np.testing.assert_allclose(_view().contributions(windows, None), [[5.0, 1.0]])


def test_what_the_components_explain_is_not_left() -> None:
    # Lies as (sample, channel): both channels move together.
    together = torch.tensor([[1.0], [1.0], [1.0], [1.0]]) / 2
    windows = torch.tensor([[[3.0, 3.0], [3.0, 3.0]], [[3.0, 3.0], [-3.0, -3.0]]])
    np.testing.assert_allclose(_view(together).contributions(windows, None), [[0.0, 0.0], [9.0, 4.5]], atol=1e-6)


def test_a_missing_value_neither_contributes_nor_counts() -> None:
    windows = torch.tensor([[[0.0, 4.0, float("nan")], [0.0, float("nan"), float("nan")]]])
    contributions = _view().contributions(windows, ~torch.isnan(windows))
    np.testing.assert_allclose(contributions, [[16.0, 0.0]])


@pytest.mark.parametrize("value", [1e30, -1e30, float("inf")])
def test_an_absurd_value_counts_as_the_largest_there_is(value: float) -> None:
    windows = torch.tensor([[[value, 0.0], [0.0, 0.0]]])
    contributions = _view().contributions(windows, None)
    np.testing.assert_allclose(contributions, [[LIMIT**2 / 2, 0.0]])

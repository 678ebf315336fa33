import torch

from stream_ae.models.normaliser import Normaliser


def test_the_base_of_a_window_is_told_by_what_is_left_of_it() -> None:
    column = torch.tensor([[2.0], [-1.0]])
    normaliser = Normaliser(column, column.abs(), column - 100, column + 100, recentre=0.7)
    windows = torch.randn(4, 2, 8) + 3.0
    seen = normaliser.apply(windows.clone())
    torch.testing.assert_close(normaliser.base_of(seen.x), seen.base)
    torch.testing.assert_close(normaliser.restore(seen.x, normaliser.base_of(seen.x)), windows)

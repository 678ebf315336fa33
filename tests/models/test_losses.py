import torch

from stream_ae.models.losses import squared_error


def test_the_loss_is_a_mean_per_sample() -> None:
    x = torch.zeros(2, 1, 2)
    x_hat = torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]]])
    assert squared_error(x_hat, x).tolist() == [5.0, 0.0]


def test_missing_values_do_not_count() -> None:
    observed = torch.tensor([[[True, False]], [[False, False]]])
    x_hat = torch.tensor([[[2.0, float("nan")]], [[7.0, 7.0]]])
    assert squared_error(x_hat, torch.zeros(2, 1, 2), observed).tolist() == [4.0, 0.0]

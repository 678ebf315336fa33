"""What the detector is measured against: each gives causal scores of the training rows and of the test rows."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn

from stream_ae.models.blocks import mlp
from stream_ae.records import Float32, Float64
from tests.quality.data import HISTORY, Series

WINDOW = 20
COMPONENTS = 20
EPOCHS = 15


@dataclass(frozen=True, slots=True)
class Scores:
    """Of the training rows, to choose a threshold by, and of the test rows."""

    train: Float64
    test: Float64


Peer = Callable[[Series, int], Scores]


def random(series: Series, seed: int) -> Scores:
    """Anything must beat it."""
    generator = np.random.default_rng(seed)
    return Scores(generator.random(len(series.train)), generator.random(len(series.test)))


def elapsed_time(series: Series, seed: int) -> Scores:
    """Rises with time: shows where a data set puts its anomalies late."""
    return Scores(*np.split(np.arange(len(series.train) + len(series.test), dtype=np.float64), [len(series.train)]))


def mean_abs_z(series: Series, seed: int) -> Scores:
    """Mean distance from the channel's mean in standard deviations: no model at all."""
    train, test = _standardised(series)
    return Scores(_mean_abs(train), _mean_abs(test[HISTORY:]))


def _mean_abs(x: Float32) -> Float64:
    mean: Float64 = np.abs(x).mean(1).astype(np.float64)
    return mean


def pca(series: Series, seed: int) -> Scores:
    """Mean squared error of 20-row windows rebuilt from 20 principal components."""
    train, test = map(_windows, _standardised(series))
    mean = train.mean(0)
    _, vectors = np.linalg.eigh(np.cov((train - mean).T))
    components = vectors[:, -COMPONENTS:]

    def error(x: Float32) -> Float64:
        x = x - mean
        left: Float64 = np.square(x - (x @ components) @ components.T).mean(1, dtype=np.float64)
        return left

    return Scores(error(train), error(test)[HISTORY:])


def plain_autoencoder(series: Series, seed: int) -> Scores:
    """Mean squared error of 20-row windows rebuilt by a dense net D-64-16-64-D: the textbook's detector."""
    train, test = (torch.from_numpy(np.ascontiguousarray(_windows(x))) for x in _standardised(series))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width = train.shape[1]
        net = nn.Sequential(mlp([width, 64]), nn.Linear(64, 16), mlp([16, 64]), nn.Linear(64, width))
        optimiser = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(EPOCHS):
            for rows in torch.split(torch.randperm(len(train)), 128):
                optimiser.zero_grad()
                (net(train[rows]) - train[rows]).square().mean().backward()
                optimiser.step()

    def error(x: Tensor) -> Float64:
        with torch.inference_mode():
            found: Float64 = (
                torch.cat([(net(part) - part).square().mean(1) for part in torch.split(x, 4096)]).double().numpy()
            )
        return found

    return Scores(error(train), error(test)[HISTORY:])


def pyod_autoencoder(series: Series, seed: int) -> Scores:
    return _pyod("auto_encoder", "AutoEncoder", series, random_state=seed, verbose=0)


def pyod_ecod(series: Series, seed: int) -> Scores:
    return _pyod("ecod", "ECOD", series)


def pyod_isolation_forest(series: Series, seed: int) -> Scores:
    return _pyod("iforest", "IForest", series, random_state=seed)


def _pyod(module: str, name: str, series: Series, **options: int) -> Scores:
    """PyOD's detectors with their defaults, row by row. PyOD is there only under `make quality`."""
    model = getattr(importlib.import_module(f"pyod.models.{module}"), name)(**options)
    train, test = _standardised(series)
    with torch.random.fork_rng(devices=[]):
        model.fit(train)
        scores = [np.asarray(model.decision_function(x), np.float64) for x in (train, test)]
    return Scores(scores[0], scores[1][HISTORY:])


def _standardised(series: Series) -> tuple[Float32, Float32]:
    """Training rows, and test rows with what precedes them, in standard deviations of the training rows."""
    mean, spread = series.train.mean(0), series.train.std(0)
    spread = np.where(spread > 1e-6, spread, 1.0)
    rows = np.concatenate((series.history, series.test))
    return ((series.train - mean) / spread).astype(np.float32), ((rows - mean) / spread).astype(np.float32)


def _windows(x: Float32) -> Float32:
    """(N, 20 * C): each row with those before it."""
    padded = np.concatenate((np.repeat(x[:1], WINDOW - 1, 0), x))
    return sliding_window_view(padded, WINDOW, axis=0).reshape(len(x), -1)

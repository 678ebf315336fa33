"""How far a set of images is from another: Frechet distance of the features of a small classifier of digits.

As Heusel et al. 2017 ("Performance measure" of the experiments), with features that know digits instead of photographs;
so distances compare models here and with nothing else.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import linalg
from torch import Tensor, nn
from torch.nn import functional

from stream_ae.records import Float32, Float64
from stream_ae.training.fit import reproducible, shuffled, step

FEATURES, EPOCHS, BATCH, LEARNING_RATE = 64, 4, 64, 2e-3


class Classifier(nn.Module):
    """Images (B, 1, H, W), 0 to 1, to features (B, FEATURES), and those to scores of ten digits."""

    def __init__(self, sides: tuple[int, int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * (sides[0] // 4) * (sides[1] // 4), FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.last = nn.Linear(FEATURES, 10)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.last(self.layers(x))
        return scores


@dataclass(frozen=True, slots=True)
class Judge:
    """A trained classifier and what real images, which nobody learnt from, look like to it."""

    classifier: Classifier
    real: Float64

    def distance(self, x: Float32) -> float:
        """Frechet distance of images (N, 1, H, W) from the real ones."""
        return frechet(features(self.classifier, x), self.real)

    def accuracy(self, x: Float32, y: Float64) -> float:
        """Share of the images that are taken for the digit they are."""
        with torch.inference_mode():
            found = self.classifier(torch.from_numpy(x)).argmax(1).numpy()
        return float((found == y).mean())


def judge(x: Float32, y: Float64, real: Float32, seed: int = 0) -> Judge:
    """Who has learnt images x (N, 1, H, W) of digits y (N,), and compares with the real ones."""
    given, digits = torch.from_numpy(x), torch.from_numpy(y).long()
    with reproducible(seed, 1) as generator:
        classifier = Classifier((x.shape[2], x.shape[3]))
        optimiser = torch.optim.Adam(classifier.parameters(), LEARNING_RATE)
        for _ in range(EPOCHS):
            for chosen in shuffled(len(x), BATCH, generator):
                step(functional.cross_entropy(classifier(given[chosen]), digits[chosen]), optimiser)
    return Judge(classifier, features(classifier, real))


def features(classifier: Classifier, x: Float32) -> Float64:
    """(N, FEATURES) what the classifier's last layer sees of images (N, 1, H, W)."""
    with torch.inference_mode():
        return np.asarray(classifier.layers(torch.from_numpy(x)).numpy(), np.float64)


def frechet(a: Float64, b: Float64) -> float:
    """Squared Frechet distance between the Gaussians that fit features a (N, F) and b (M, F) (Dowson & Landau 1982).

    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> round(frechet(x, x), 6), round(frechet(x, x + 2.0), 6)
    (0.0, 12.0)
    """
    covariances = [np.cov(part, rowvar=False) for part in (a, b)]
    # The trace of the root of a product: its eigenvalues are those of a matrix that is symmetric, hence not negative.
    strengths, axes = linalg.eigh(covariances[0])
    root = axes * np.sqrt(np.maximum(strengths, 0.0)) @ axes.T
    eigenvalues = linalg.eigvalsh(root @ covariances[1] @ root)
    between = float(np.sqrt(np.maximum(eigenvalues, 0.0)).sum())
    apart = float(np.square(a.mean(0) - b.mean(0)).sum())
    return apart + float(sum(np.trace(part) for part in covariances)) - 2.0 * between

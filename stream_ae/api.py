"""The offline API: the model that a worker serves, on arrays. Names follow scikit-learn and PyOD."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from stream_ae.errors import ConfigError
from stream_ae.flow.window import windows_of
from stream_ae.models import serialization
from stream_ae.models.config import ArchitectureConfig, ConvConfig
from stream_ae.models.detector import Detector
from stream_ae.records import Float32, Float64, Inference, Int64
from stream_ae.settings import DenoiserKind, ModelKind, TrainingSettings
from stream_ae.training import TrainingReport, train
from stream_ae.training.choose import chosen_for

CHUNK = 2048
"""Rows answered at once, so that memory does not grow with the array."""

_PARAMETERS = (
    "model", "window", "lookahead", "false_alarm_rate", "seed", "max_epochs", "patience", "batch_size",
    "learning_rate", "threads", "beta", "free_bits", "denoiser", "denoiser_steps", "clean",
)  # fmt: skip
_DEFAULT = TrainingSettings()


class AutoencoderDetector:
    """Denoiser and anomaly detector on arrays; give it rows (N, C) in time order, NaN = missing.

    A score of row i uses rows <= i (plus `lookahead`): what a worker says of a row equals what is said here.
    Higher scores are more anomalous, `predict` gives 1 for an anomaly; `false_alarm_rate` is the share of normal rows
    that may be flagged. A one-dimensional array is taken for one channel, (N,) = (N, 1).

    >>> x = np.sin(np.arange(400, dtype=np.float32) / 5)[:, None]
    >>> detector = AutoencoderDetector(window=16, max_epochs=2).fit(x)
    >>> detector.denoise(x).shape
    (400, 1)
    """

    def __init__(
        self,
        *,
        model: ModelKind = _DEFAULT.model,
        window: int = _DEFAULT.window,
        lookahead: int = _DEFAULT.lookahead,
        false_alarm_rate: float = _DEFAULT.false_alarm_rate,
        seed: int = _DEFAULT.seed,
        max_epochs: int = _DEFAULT.max_epochs,
        patience: int = _DEFAULT.patience,
        batch_size: int = _DEFAULT.batch_size,
        learning_rate: float = _DEFAULT.learning_rate,
        threads: int = _DEFAULT.threads,
        beta: float = _DEFAULT.beta,
        free_bits: float = _DEFAULT.free_bits,
        denoiser: DenoiserKind = _DEFAULT.denoiser,
        denoiser_steps: int = _DEFAULT.denoiser_steps,
        clean: bool = _DEFAULT.clean,
    ) -> None:
        # Stored as given, unchecked: scikit-learn's clone compares them by identity. `fit` checks.
        self.model = model
        self.window = window
        self.lookahead = lookahead
        self.false_alarm_rate = false_alarm_rate
        self.seed = seed
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.threads = threads
        self.beta = beta
        self.free_bits = free_bits
        self.denoiser = denoiser
        self.denoiser_steps = denoiser_steps
        self.clean = clean

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; they count from the next `fit` on."""
        for name, value in params.items():
            if name not in _PARAMETERS:
                raise ConfigError(f"unknown parameter '{name}': the known ones are {', '.join(_PARAMETERS)}")
            setattr(self, name, value)
        return self

    def fit(self, x: ArrayLike, y: object = None) -> Self:
        """Learn what is normal from x (N, C); `y` is ignored. Raises ConfigError if nothing can be learnt from it."""
        rows = _rows(x)
        options = self._options()
        channels = tuple(f"x{channel}" for channel in range(rows.shape[1]))
        trained = train([rows], channels, options)
        self.detector_: Detector = trained.detector
        self.report_: TrainingReport = trained.report
        self.n_features_in_ = len(channels)
        return self

    def decision_function(self, x: ArrayLike) -> Float64:
        """(N,) anomaly scores, finite: -log10 of how rare such a row is among normal ones."""
        scores = [answer.score for answer in self._answers(_rows(x))]
        finite: Float64 = np.minimum(np.concatenate([np.empty(0), *scores]), np.finfo(np.float64).max)
        return finite

    def predict(self, x: ArrayLike) -> Int64:
        """(N,) 1 where the score is above the calibrated threshold, else 0."""
        return (self.decision_function(x) > self._fitted().threshold).astype(np.int64)

    def explain(self, x: ArrayLike) -> Float32:
        """(N, C) each channel's share of the score; rows sum to 1."""
        rows = _rows(x)
        shares = [answer.share for answer in self._answers(rows)]
        return np.concatenate([np.empty((0, rows.shape[1]), np.float32), *shares])

    def denoise(self, x: ArrayLike) -> NDArray[np.floating[Any]]:
        """The denoised rows in the shape and units of x, missing values filled in; float32 where x is not of floats.

        Channels that nothing cleans better than leaving them alone come out as they are; `detector_.choices` says why.
        """
        given = np.asarray(x)
        rows = _rows(given)
        parts = [answer.x_hat for answer in self._answers(rows)]
        x_hat = np.concatenate([np.empty((0, rows.shape[1]), np.float32), *parts])
        dtype = given.dtype if np.issubdtype(given.dtype, np.floating) else np.float32
        return x_hat.reshape(given.shape).astype(dtype)

    def choose_denoiser(self, x_recent: ArrayLike) -> Self:
        """Choose anew who cleans each channel, by recent rows (N, C) of a stream that training did not see: noisy as
        they are, without labels. What does harm there is not used; `save` keeps the choice."""
        rows = _rows(x_recent)
        self._check_columns(rows)
        self.detector_ = chosen_for(self._fitted(), [rows])
        return self

    def encode(self, x: ArrayLike) -> Float32:
        """(N, Z) latent codes of the windows that belong to the rows; `decode` takes them back."""
        detector = self._fitted()
        codes = [detector.encode(windows) for windows in self._windows(_rows(x))]
        return np.concatenate(codes) if codes else np.empty((0, detector.code_size), np.float32)

    def decode(self, z: ArrayLike) -> Float32:
        """(N, C, T) the denoised windows, in the units of x, that codes (N, Z) stand for."""
        return self._fitted().decode(np.asarray(z, np.float32))

    def sample(self, n: int, seed: int = 0) -> Float32:
        """(n, C, T) windows that the model makes up, in the units of x. ModelError unless the model is variational."""
        return self._fitted().sample(n, seed)

    def save(self, folder: str | Path) -> None:
        """Write the version folder that workers serve."""
        serialization.save(self._fitted(), Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A fitted detector from a version folder, whoever trained it. Raises ModelError if it cannot be trusted."""
        detector = serialization.load(Path(folder))
        rate = float(10.0**-detector.threshold)
        side = detector.denoiser.network if detector.denoiser is not None else None
        loaded = cls(
            denoiser="auto" if side is None else "unet",
            clean=side is not None and not side.blind,
            model=_named(detector.network.config),
            window=detector.window,
            lookahead=detector.lookahead,
            false_alarm_rate=rate,
        )
        loaded.detector_ = detector
        loaded.n_features_in_ = len(detector.channels)
        return loaded

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "detector_")

    def __repr__(self) -> str:
        return f"AutoencoderDetector({', '.join(f'{name}={getattr(self, name)!r}' for name in _PARAMETERS)})"

    def _options(self) -> TrainingSettings:
        if self.model not in get_args(ModelKind):
            raise ConfigError(f"model is {self.model!r}: use one of {', '.join(get_args(ModelKind))}")
        try:
            return TrainingSettings(**self.get_params())
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, e['loc'])) or 'parameters'}: {e['msg']}" for e in error.errors()]
            raise ConfigError(f"AutoencoderDetector cannot be fitted so: {'; '.join(problems)}") from None

    def _fitted(self) -> Detector:
        if not hasattr(self, "detector_"):
            raise ConfigError(
                "this AutoencoderDetector knows nothing yet: call fit(x) or AutoencoderDetector.load first"
            )
        return self.detector_

    def _answers(self, rows: Float32) -> Iterator[Inference]:
        detector = self._fitted()
        return (detector.infer(windows) for windows in self._windows(rows))

    def _windows(self, rows: Float32) -> Iterator[Float32]:
        """All windows of the rows, CHUNK at a time."""
        detector = self._fitted()
        self._check_columns(rows)
        views = windows_of(rows, detector.window, detector.lookahead)
        return (views[begin : begin + CHUNK] for begin in range(0, len(rows), CHUNK))

    def _check_columns(self, rows: Float32) -> None:
        channels = len(self._fitted().channels)
        if rows.shape[1] != channels:
            raise ConfigError(f"x has {rows.shape[1]} columns; this detector was fitted on {channels}")


def _named(config: ArchitectureConfig) -> ModelKind:
    """The `model` that gives such a network."""
    variational = config.bottleneck == "variational"
    if isinstance(config, ConvConfig):
        return "conv1d-variational" if variational else "conv1d"
    return "variational" if variational else "dense"


def _rows(x: ArrayLike) -> Float32:
    """x as (N, C) float32."""
    given = np.asarray(x)
    if not (np.issubdtype(given.dtype, np.number) or given.dtype == np.bool_) or np.iscomplexobj(given):
        raise ConfigError(f"x holds {given.dtype}, not numbers: convert it to float, NaN = missing")
    if given.ndim not in (1, 2):
        raise ConfigError(f"x has shape {given.shape}: give rows (N, C) in time order, or (N,) for one channel")
    with np.errstate(over="ignore"):
        rows = given.astype(np.float32, copy=False)
    return rows[:, None] if given.ndim == 1 else rows

"""The offline API: the model that a worker serves, on arrays. Names follow scikit-learn and PyOD."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from stream_ae.digest import folder_digest
from stream_ae.errors import ConfigError, ModelError
from stream_ae.flow import profile_folder
from stream_ae.flow.profiles import Profiles, Served
from stream_ae.flow.window import windows_of
from stream_ae.models import serialization
from stream_ae.models.config import ArchitectureConfig, ConvConfig
from stream_ae.models.detector import Detector
from stream_ae.records import Float32, Float64, Inference, Int64, ModelIdentity
from stream_ae.settings import DenoiserKind, ModelKind, ProfileKind, TrainingSettings
from stream_ae.training import TrainingReport, train
from stream_ae.training.adapt import adapted
from stream_ae.training.choose import chosen_for

CHUNK = 2048
"""Rows answered at once, so that memory does not grow with the array."""

PROFILE_FOLDER = "profile"
_STREAM = "adapted"

_PARAMETERS = (
    "model", "window", "lookahead", "false_alarm_rate", "seed", "max_epochs", "patience", "batch_size",
    "learning_rate", "threads", "beta", "free_bits", "time_budget_s", "denoiser", "denoiser_steps", "clean",
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

    `adapt` gives it a stream's own threshold, from recent rows of that stream; all answers are about that stream then.
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
        time_budget_s: float | None = _DEFAULT.time_budget_s,
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
        self.time_budget_s = time_budget_s
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
        if rows.shape[1] == 0:
            raise ConfigError(f"x has shape {rows.shape}, so no channel: give rows (N, C) with C of at least 1")
        options = self._options()
        channels = tuple(f"x{channel}" for channel in range(rows.shape[1]))
        trained = train([rows], channels, options)
        self.detector_: Detector = trained.detector
        self.report_: TrainingReport = trained.report
        self.n_features_in_ = len(channels)
        self.profile_: Profiles | None = None
        return self

    def adapt(self, x_recent: ArrayLike, kind: ProfileKind = "threshold") -> Self:
        """Adapt to the stream that x_recent (N, C) is of, without labels, as `stream-ae adapt` does for every stream.

        `predict` then uses the stream's own threshold, and `denoise` leaves alone what the model's choice does harm to
        in this stream (unless `denoiser` settled that unmeasured). With kind `full` the rows are also mapped from the
        centre and scale that the stream has to those that the model was fitted on, and answers are mapped back. Calling
        it again replaces what it learnt before; `copy.copy(detector).adapt(...)` leaves the detector as it is, and
        shares its network. Raises ConfigError if there are too few rows.
        """
        profiles = adapted(self._fitted(), {_STREAM: [self._checked(_rows(x_recent))]}, kind, self.false_alarm_rate)
        self.profile_ = profiles
        return self

    @property
    def threshold_(self) -> float:
        """A score above it is an anomaly: the model's, or after `adapt` the stream's own."""
        return float(self._served().thresholds[-1])

    def decision_function(self, x: ArrayLike) -> Float64:
        """(N,) anomaly scores, finite: -log10 of how rare such a row is among normal ones."""
        scores = [answer.score for answer in self._answers(_rows(x))]
        finite: Float64 = np.minimum(np.concatenate([np.empty(0), *scores]), np.finfo(np.float64).max)
        return finite

    def predict(self, x: ArrayLike) -> Int64:
        """(N,) 1 where the score is above the calibrated threshold, else 0.

        In the first rows the window reaches back beyond the start of x: there the model's start threshold counts,
        unless it is the lower one.
        """
        score, served = self.decision_function(x), self._served()
        row = np.arange(len(score))
        return (score > served.held_against(np.full(len(score), len(served.thresholds) - 1), row)).astype(np.int64)

    def explain(self, x: ArrayLike) -> Float32:
        """(N, C) each channel's share of the score; rows sum to 1."""
        rows = _rows(x)
        shares = [answer.share for answer in self._answers(rows)]
        return np.concatenate([np.empty((0, rows.shape[1]), np.float32), *shares])

    def denoise(self, x: ArrayLike) -> NDArray[np.floating[Any]]:
        """The denoised rows in the shape and units of x, missing values filled in; float32 where x is not of floats.

        Channels that nothing cleans better than leaving them alone come out as they are; `detector_.choices` says why.
        """
        given = _array(x)
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
        detector, served = self._fitted(), self._served()
        codes = [
            detector.encode(served.to_model(windows, _own(served, windows))) for windows in self._windows(_rows(x))
        ]
        return np.concatenate(codes) if codes else np.empty((0, detector.code_size), np.float32)

    def decode(self, z: ArrayLike) -> Float32:
        """(N, C, T) the denoised windows, in the units of x, that codes (N, Z) stand for."""
        return self._from_model(self._fitted().decode(np.asarray(z, np.float32)))

    def sample(self, n: int, seed: int = 0) -> Float32:
        """(n, C, T) windows that the model makes up, in the units of x. ModelError unless the model is variational."""
        return self._from_model(self._fitted().sample(n, seed))

    def interpolate(self, code_a: ArrayLike, code_b: ArrayLike, steps: int) -> Float32:
        """(steps, C, T) windows, in the units of x, on the straight line from one code (Z,) to another, ends included.

        The prior of a variational model has no holes on the way; of other models what lies between two codes need not
        look like data. So ModelError unless the model is variational.
        """
        detector = self._fitted()
        if not detector.generative:
            raise ModelError(
                f"the model is {self.model}, not variational: what lies between two of its codes need not look like "
                "data; fit one with model='variational' or 'conv1d-variational'"
            )
        ends = [np.asarray(code, np.float32) for code in (code_a, code_b)]
        if any(end.shape != (detector.code_size,) for end in ends) or steps < 2:
            raise ConfigError(
                f"interpolate takes two codes of {detector.code_size} numbers, such as two rows of encode(x), and at "
                f"least 2 steps; got shapes {ends[0].shape} and {ends[1].shape}, and {steps} steps"
            )
        return self._from_model(detector.decode(np.linspace(ends[0], ends[1], steps, dtype=np.float32)))

    def save(self, folder: str | Path) -> None:
        """Write the version folder that workers serve; what `adapt` learnt lies in it, in a folder that they ignore."""
        where = Path(folder)
        serialization.save(self._fitted(), where)
        shutil.rmtree(where / PROFILE_FOLDER, ignore_errors=True)
        if self.profile_ is not None:
            version = ModelIdentity(self.profile_.model.name, "0", folder_digest(where))
            profile_folder.save(replace(self.profile_, model=version), where / PROFILE_FOLDER)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A fitted detector from a version folder, whoever trained it. Raises ModelError if it cannot be trusted."""
        where = Path(folder)
        detector = serialization.load(where)
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
        loaded.profile_ = _profile_in(where, detector) if (where / PROFILE_FOLDER).is_dir() else None
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

    def _served(self) -> Served:
        return Served(self._fitted(), self.profile_)

    def _answers(self, rows: Float32) -> Iterator[Inference]:
        served = self._served()
        for windows in self._windows(rows):
            own = _own(served, windows)
            inference = served.model.infer(served.to_model(windows, own))
            yield served.restored(inference, own, served.given(windows, own))

    def _from_model(self, windows: Float32) -> Float32:
        served = self._served()
        return served.from_model(windows, _own(served, windows))

    def _checked(self, rows: Float32) -> Float32:
        channels = len(self._fitted().channels)
        if rows.shape[1] != channels:
            raise ConfigError(f"x has {rows.shape[1]} columns; this detector was fitted on {channels}")
        return rows

    def _windows(self, rows: Float32) -> Iterator[Float32]:
        """All windows of the rows, CHUNK at a time."""
        detector = self._fitted()
        views = windows_of(self._checked(rows), detector.window, detector.lookahead)
        return (views[begin : begin + CHUNK] for begin in range(0, len(rows), CHUNK))

    def _check_columns(self, rows: Float32) -> None:
        channels = len(self._fitted().channels)
        if rows.shape[1] != channels:
            raise ConfigError(f"x has {rows.shape[1]} columns; this detector was fitted on {channels}")


def _own(served: Served, windows: Float32) -> Int64:
    """The row of what is served that all windows are of: the stream's profile where there is one."""
    return np.full(len(windows), len(served.thresholds) - 1)


def _profile_in(folder: Path, detector: Detector) -> Profiles:
    """What `save` wrote beside the model. Raises ModelError if it is of another model."""
    profiles = profile_folder.load(folder / PROFILE_FOLDER)
    if profiles.model.digest != folder_digest(folder, without=PROFILE_FOLDER) or len(profiles.streams) != 1:
        raise ModelError(
            f"{folder / PROFILE_FOLDER} was learnt with another model than {folder}: delete it, or adapt and save again"
        )
    return replace(profiles, model=detector.identity)


def _named(config: ArchitectureConfig) -> ModelKind:
    """The `model` that gives such a network."""
    variational = config.bottleneck == "variational"
    if isinstance(config, ConvConfig):
        return "conv1d-variational" if variational else "conv1d"
    return "variational" if variational else "dense"


def _array(x: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ConfigError("x has rows of different lengths: give rows (N, C), NaN = missing") from error


def _rows(x: ArrayLike) -> Float32:
    """x as (N, C) float32."""
    given = _array(x)
    if not (np.issubdtype(given.dtype, np.number) or given.dtype == np.bool_) or np.iscomplexobj(given):
        raise ConfigError(f"x holds {given.dtype}, not numbers: convert it to float, NaN = missing")
    if given.ndim not in (1, 2):
        raise ConfigError(f"x has shape {given.shape}: give rows (N, C) in time order, or (N,) for one channel")
    with np.errstate(over="ignore"):
        rows = given.astype(np.float32, copy=False)
    return rows[:, None] if given.ndim == 1 else rows

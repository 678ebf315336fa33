"""The offline API: the model that a worker serves, on arrays. Names follow scikit-learn and PyOD."""

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from stream_ae.arrays import array_of, as_given, frames_of, is_images, rows_of
from stream_ae.digest import folder_digest
from stream_ae.errors import ConfigError, ModelError
from stream_ae.flow import profile_folder
from stream_ae.flow.model import width_of
from stream_ae.flow.profiles import Profiles, Served
from stream_ae.flow.window import windows_of
from stream_ae.models import version
from stream_ae.models.config import ConvConfig
from stream_ae.models.detector import Detector
from stream_ae.models.images.config import PriorKind
from stream_ae.models.images.detector import ImageDetector
from stream_ae.models.version import AnyDetector
from stream_ae.records import Float32, Float64, Inference, Int64, ModelIdentity
from stream_ae.settings import DenoiserKind, ModelKind, ProfileKind, TrainingSettings
from stream_ae.training import TrainingReport, train
from stream_ae.training.adapt import adapted
from stream_ae.training.choose import chosen_for
from stream_ae.training.images import ImageReport, train_frames
from stream_ae.training.images.collect import colours
from stream_ae.training.images.frames import LEAST_FRAMES

CHUNK = 2048
"""Rows answered at once, so that memory does not grow with the array."""

PROFILE_FOLDER = "profile"
_STREAM = "adapted"

_PARAMETERS = (
    "model", "window", "lookahead", "false_alarm_rate", "seed", "max_epochs", "patience", "batch_size",
    "learning_rate", "threads", "beta", "free_bits", "time_budget_s", "denoiser", "denoiser_steps", "clean",
    "diffusion_steps",
)  # fmt: skip
_DEFAULT = TrainingSettings()


class AutoencoderDetector:
    """Denoiser and anomaly detector on arrays; give it rows (N, C) in time order, or images; NaN = missing.

    A score of row i uses rows <= i (plus `lookahead`): what a worker says of a row equals what is said here.
    Higher scores are more anomalous, `predict` gives 1 for an anomaly; `false_alarm_rate` is the share of normal rows
    that may be flagged. A one-dimensional array is taken for one channel, (N,) = (N, 1). Three or four axes are images
    (N, H, W) or (N, C, H, W), each judged by itself.

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
        diffusion_steps: int = _DEFAULT.diffusion_steps,
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
        self.diffusion_steps = diffusion_steps

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
        """Learn what is normal from rows x (N, C) or images (N, H, W), (N, C, H, W); `y` is ignored.

        Raises ConfigError if nothing can be learnt from it."""
        given = array_of(x)
        if is_images(given):
            return self._fit_frames(frames_of(given))
        rows = rows_of(given)
        if rows.shape[1] == 0:
            raise ConfigError(f"x has shape {rows.shape}, so no channel: give rows (N, C) with C of at least 1")
        options = self._options()
        channels = tuple(f"x{channel}" for channel in range(rows.shape[1]))
        trained = train([rows], channels, options)
        self.detector_: AnyDetector = trained.detector
        self.report_: TrainingReport | ImageReport = trained.report
        self.n_features_in_ = len(channels)
        self.profile_: Profiles | None = None
        return self

    def _fit_frames(self, frames: Float32) -> Self:
        if len(frames) < LEAST_FRAMES:
            raise ConfigError(
                f"x has shape {frames[:, 0].shape if frames.shape[1] == 1 else frames.shape}, which is taken for "
                f"{len(frames)} images; at least {LEAST_FRAMES} are needed. Rows of readings are (N, C)"
            )
        trained = train_frames(frames, colours(frames.shape[1]), self._options())
        self.detector_, self.report_ = trained.detector, trained.report
        self.n_features_in_ = math.prod(frames.shape[1:])
        self.profile_ = None
        return self

    def adapt(self, x_recent: ArrayLike, kind: ProfileKind = "threshold") -> Self:
        """Adapt to the stream that x_recent (N, C) is of, without labels, as `stream-ae adapt` does for every stream.

        `predict` then uses the stream's own threshold, and `denoise` leaves alone what the model's choice does harm to
        in this stream (unless `denoiser` settled that unmeasured). With kind `full` the rows are also mapped from the
        centre and scale that the stream has to those that the model was fitted on, and answers are mapped back. Calling
        it again replaces what it learnt before; `copy.copy(detector).adapt(...)` leaves the detector as it is, and
        shares its network. Raises ConfigError if there are too few rows.
        """
        profiles = adapted(self._of_rows("adapt"), {_STREAM: [self._samples(x_recent)]}, kind, self.false_alarm_rate)
        self.profile_ = profiles
        return self

    @property
    def threshold_(self) -> float:
        """A score above it is an anomaly: the model's, or after `adapt` the stream's own."""
        return float(self._served().thresholds[-1])

    def decision_function(self, x: ArrayLike) -> Float64:
        """(N,) anomaly scores, finite: -log10 of how rare such a row is among normal ones."""
        scores = [answer.score for answer in self._answers(self._samples(x))]
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
        """(N, C) each channel's share of the score; rows sum to 1.

        Of images an error map (N, H, W): 1 = as far off as is normal at that pixel.
        """
        samples, detector = self._samples(x), self._fitted()
        if isinstance(detector, ImageDetector):
            return detector.error_map(samples.reshape(-1, *detector.frame))
        shares = [answer.share for answer in self._answers(samples)]
        return np.concatenate([np.empty((0, samples.shape[1]), np.float32), *shares])

    def denoise(self, x: ArrayLike) -> NDArray[Any]:
        """The denoised rows in the shape and units of x, missing values filled in; float32 where x is not of floats.

        Images come out in the type they came in. Channels that nothing cleans better than leaving them alone come out
        as they are; `detector_.choices` says why.
        """
        given = array_of(x)
        samples = self._samples(given)
        parts = [answer.x_hat for answer in self._answers(samples)]
        return as_given(np.concatenate([np.empty((0, samples.shape[1]), np.float32), *parts]), given)

    def choose_denoiser(self, x_recent: ArrayLike) -> Self:
        """Choose anew who cleans each channel, by recent rows (N, C) of a stream that training did not see: noisy as
        they are, without labels. What does harm there is not used; `save` keeps the choice."""
        self.detector_ = chosen_for(self._of_rows("choose_denoiser"), [self._samples(x_recent)])
        return self

    def encode(self, x: ArrayLike) -> Float32:
        """(N, Z) latent codes of the rows' windows, or (N, ...) of images; `decode` takes them back."""
        detector, served = self._fitted(), self._served()
        if isinstance(detector, ImageDetector):
            return detector.encode(self._samples(x).reshape(-1, *detector.frame))
        codes = [
            detector.encode(served.to_model(windows, _own(served, windows)))
            for windows in self._windows(self._samples(x))
        ]
        return np.concatenate(codes) if codes else np.empty((0, detector.code_size), np.float32)

    def decode(self, z: ArrayLike) -> Float32:
        """(N, C, T) the denoised windows, or (N, C, H, W) images, in the units of x, that codes stand for."""
        return self._from_model(self._fitted().decode(np.asarray(z, np.float32)))

    def sample(self, n: int, seed: int = 0, prior: PriorKind | None = None) -> Float32:
        """(n, C, T) windows or (n, C, H, W) images that the model makes up, in the units of x.

        From codes of N(0, I), or of the diffusion prior that `diffusion_steps` trains, which is the default where there
        is one. ModelError if the model has no such prior; ConfigError if it takes `diffusers`, which is not installed.
        """
        detector = self._fitted()
        if prior not in (None, *get_args(PriorKind)):
            raise ConfigError(f"prior is {prior!r}: use normal, diffusion or None")
        if isinstance(detector, ImageDetector):
            best: PriorKind = "normal" if detector.prior is None else "diffusion"
            return self._from_model(detector.sample(n, seed, prior or best))
        if prior == "diffusion":
            raise ModelError("only models of images have a diffusion prior: sample with prior='normal'")
        return self._from_model(detector.sample(n, seed))

    def interpolate(self, code_a: ArrayLike, code_b: ArrayLike, steps: int) -> Float32:
        """(steps, C, T) windows or (steps, C, H, W) images, in the units of x, on the straight line between two codes,
        ends included.

        The prior of a variational model has no holes on the way; of other models what lies between two codes need not
        look like data. So ModelError unless the model is variational. Spatial codes, which keep places apart, blend
        images rather than change one into the other (docs/QUALITY.md).
        """
        detector = self._fitted()
        if not detector.generative:
            raise ModelError(
                f"the model is {self.model}, not variational: what lies between two of its codes need not look like "
                "data; fit one with model='variational', 'conv1d-variational' or 'conv2d-variational'"
            )
        ends = [np.asarray(code, np.float32) for code in (code_a, code_b)]
        if any(end.shape != detector.code_shape for end in ends) or steps < 2:
            raise ConfigError(
                f"interpolate takes two codes of shape {detector.code_shape}, such as two rows of encode(x), and at "
                f"least 2 steps; got shapes {ends[0].shape} and {ends[1].shape}, and {steps} steps"
            )
        return self._from_model(detector.decode(np.linspace(ends[0], ends[1], steps, dtype=np.float32)))

    def save(self, folder: str | Path) -> None:
        """Write the version folder that workers serve; what `adapt` learnt lies in it, in a folder that they ignore."""
        where = Path(folder)
        version.save(self._fitted(), where)
        shutil.rmtree(where / PROFILE_FOLDER, ignore_errors=True)
        if self.profile_ is not None:
            identity = ModelIdentity(self.profile_.model.name, "0", folder_digest(where))
            profile_folder.save(replace(self.profile_, model=identity), where / PROFILE_FOLDER)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A fitted detector from a version folder, whoever trained it. Raises ModelError if it cannot be trusted."""
        where = Path(folder)
        detector = version.load(where)
        rate = float(10.0**-detector.threshold)
        blind = _blind(detector)
        loaded = cls(
            denoiser="auto" if blind is None else "unet",
            clean=blind is False,
            model=_named(detector),
            window=detector.window if detector.frame is None else _DEFAULT.window,
            lookahead=detector.lookahead,
            false_alarm_rate=rate,
        )
        loaded.detector_ = detector
        loaded.n_features_in_ = width_of(detector)
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

    def _fitted(self) -> AnyDetector:
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

    def _of_rows(self, what: str) -> Detector:
        detector = self._fitted()
        if isinstance(detector, ImageDetector):
            raise ConfigError(f"{what} is about streams of readings; this detector was fitted on images")
        return detector

    def _samples(self, x: ArrayLike) -> Float32:
        """(N, V) what this detector takes for a sample each. Raises ConfigError for other columns or images."""
        detector, given = self._fitted(), array_of(x)
        if isinstance(detector, ImageDetector):
            frames = frames_of(given, detector.frame)
            return frames.reshape(len(frames), -1)
        rows, channels = rows_of(given), len(detector.channels)
        if rows.shape[1] != channels:
            raise ConfigError(f"x has {rows.shape[1]} columns; this detector was fitted on {channels}")
        return rows

    def _windows(self, rows: Float32) -> Iterator[Float32]:
        """All windows of the rows, CHUNK at a time."""
        detector = self._fitted()
        views = windows_of(rows, detector.window, detector.lookahead)
        return (views[begin : begin + CHUNK] for begin in range(0, len(rows), CHUNK))


def _own(served: Served, windows: Float32) -> Int64:
    """The row of what is served that all windows are of: the stream's profile where there is one."""
    return np.full(len(windows), len(served.thresholds) - 1)


def _profile_in(folder: Path, detector: AnyDetector) -> Profiles:
    """What `save` wrote beside the model. Raises ModelError if it is of another model."""
    profiles = profile_folder.load(folder / PROFILE_FOLDER)
    if profiles.model.digest != folder_digest(folder, without=PROFILE_FOLDER) or len(profiles.streams) != 1:
        raise ModelError(
            f"{folder / PROFILE_FOLDER} was learnt with another model than {folder}: delete it, or adapt and save again"
        )
    return replace(profiles, model=detector.identity)


def _blind(detector: AnyDetector) -> bool | None:
    """Whether the U-Net beside it learnt without clean data; None if there is none."""
    if isinstance(detector, ImageDetector):
        return bool(detector.denoiser.side.noise) if detector.denoiser.side is not None else None
    side = detector.denoiser.network if detector.denoiser is not None else None
    return side.blind if side is not None else None


def _named(detector: AnyDetector) -> ModelKind:
    """The `model` that gives such a network."""
    bottleneck = detector.network.config.bottleneck
    if isinstance(detector, ImageDetector):
        kinds: dict[str, ModelKind] = {"spatial": "conv2d-spatial", "variational": "conv2d-variational"}
        return kinds.get(bottleneck, "conv2d")
    if isinstance(detector.network.config, ConvConfig):
        return "conv1d-variational" if bottleneck == "variational" else "conv1d"
    return "variational" if bottleneck == "variational" else "dense"

"""What the flow needs of a model: the one seam between numpy and torch."""

import math
from typing import Protocol

from stream_ae.marginals import DriftBins
from stream_ae.records import Float32, Inference, ModelIdentity
from stream_ae.settings import BatchSettings


class ServedModel(Protocol):
    """One version in service; `worker.slot` holds it, `models.detector` is behind it."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the C channels, in the order of the value columns."""
        ...

    @property
    def frame(self) -> tuple[int, int, int] | None:
        """(C, H, W) where a sample is a frame of an image stream, else None: then a sample has a value per channel."""
        ...

    @property
    def window(self) -> int:
        """T, the samples of one window."""
        ...

    @property
    def lookahead(self) -> int:
        """The target sample is this many before the newest of its window; 0 <= lookahead < window."""
        ...

    @property
    def threshold(self) -> float:
        """A score above it is an anomaly."""
        ...

    @property
    def start_threshold(self) -> float:
        """The same for samples whose window reaches back beyond the first sample of their stream."""
        ...

    @property
    def drift_bins(self) -> DriftBins | None:
        """How inputs and codes of its normal samples were spread; None in versions of before that was remembered."""
        ...

    def latents(self, windows: Float32) -> Float32:
        """(B, Q) the quantities of the latent codes of windows, as `drift_bins.latents` counts them; costs a part of
        what `infer` costs.
        """
        ...

    def infer(self, windows: Float32) -> Inference:
        """Answer windows (B, V, T) in the input's units, NaN = missing, oldest sample first.

        A sample has V values: one per channel, or the pixels of a frame in the order (C, H, W).
        With the codes too, if the model was made to give them (`models.detector.Detector.with_codes`).
        The answer for a window does not depend on the others in the batch, up to float rounding.
        Raises ModelError when the network fails as a whole.
        """
        ...


def difference(model: ServedModel, serving: ServedModel) -> str | None:
    """What makes a model useless for the stream that another one serves: records already decoded would not fit."""
    if model.channels != serving.channels:
        return f"is for channels {', '.join(model.channels)}, this stream has {', '.join(serving.channels)}"
    if model.frame != serving.frame:
        return f"is for {_shape(model)}, this stream has {_shape(serving)}"
    return None


def _shape(model: ServedModel) -> str:
    if model.frame is None:
        return "values of sensors"
    _, height, width = model.frame
    return f"frames of {width} x {height} pixels"


def fitting(model: ServedModel, limits: BatchSettings) -> int:
    """How many samples of the model go into one batch, at least one."""
    return max(min(limits.max_records, limits.max_values // width_of(model)), 1)


def width_of(model: ServedModel) -> int:
    """V, how many values a sample of the model has."""
    return len(model.channels) if model.frame is None else math.prod(model.frame)

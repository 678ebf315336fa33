"""What adapts a model to one stream: its own threshold, centre, scale and cleaning; learnt elsewhere, applied here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from stream_ae.flow.age import held_against
from stream_ae.flow.model import ServedModel
from stream_ae.records import Float32, Float64, Inference, Int64, ModelIdentity

LARGEST = np.finfo(np.float32).max


class Cleaned(IntEnum):
    """Who cleans a channel of a stream, where its version's choice for all streams does harm or leaves noise."""

    AS_CHOSEN = 0
    LEFT_ALONE = 1
    BY_AUTOENCODER = 2


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """One version of the profiles of all streams that have one; row i of every array is about `streams[i]`.

    identity:       which version this is.
    model:          the model that it was learnt with: only with the model of that digest it means anything.
    model_centre, model_scale: (C,) what the model takes for the middle and the spread of a channel.
    centre, scale:  (S, C) the same of the stream, in the input's units; equal to the model's where nothing moves.
    threshold:      (S,) on the model's score scale.
    cleaned:        (S, C) int8, a `Cleaned` each.
    """

    identity: ModelIdentity
    model: ModelIdentity
    channels: tuple[str, ...]
    model_centre: Float32
    model_scale: Float32
    streams: tuple[str, ...]
    centre: Float32
    scale: Float32
    threshold: Float64
    cleaned: NDArray[np.int8]

    def with_identity(self, identity: ModelIdentity) -> "Profiles":
        """The same under the name that it is registered by."""
        return replace(self, identity=identity)

    def fits(self, model: ServedModel) -> bool:
        """Whether it was learnt with this very model."""
        return self.model.digest == model.identity.digest and self.channels == model.channels


class Served:
    """What answers a batch: a model, with the profiles of its streams where there are some. Nothing in it changes.

    Streams are told apart by row; row 0 is the model as it is, for every stream without a profile.

    profile:     the version of the profiles, empty without any.
    thresholds:  (rows,) a score above it is an anomaly.
    """

    def __init__(self, model: ServedModel, profiles: Profiles | None = None) -> None:
        """Profiles that were learnt with another model are left aside."""
        self.model = model
        self.profile = ""
        self.thresholds: Float64 = np.array([model.threshold])
        self._rows: dict[str, int] = {}
        self._moved = np.zeros(1, np.bool_)
        self._cleaned = np.zeros((1, len(model.channels)), np.int8)
        if profiles is None or not profiles.fits(model):
            return
        self.profile = profiles.identity.version
        self.thresholds = np.concatenate([self.thresholds, profiles.threshold])
        self._rows = {stream: row for row, stream in enumerate(profiles.streams, 1)}
        self._cleaned = np.concatenate([self._cleaned, profiles.cleaned])
        self._model_centre = profiles.model_centre
        self._centre = np.concatenate([profiles.model_centre[None], profiles.centre])
        scale = np.concatenate([profiles.model_scale[None], profiles.scale])
        self._factor: Float32 = profiles.model_scale / scale
        self._moved = (self._centre != profiles.model_centre).any(1) | (self._factor != 1).any(1)

    @property
    def profiled(self) -> bool:
        """Whether any stream has a row of its own."""
        return bool(self._rows)

    def rows_of(self, streams: Sequence[str]) -> Int64:
        """The row of each stream."""
        return np.fromiter((self._rows.get(stream, 0) for stream in streams), np.int64, len(streams))

    def held_against(self, rows: Int64, age: Int64) -> Float64:
        """(N,) what the scores of samples are held against that so many of their streams came before."""
        return held_against(self.model, self.thresholds[rows], age)

    def to_model(self, values: Float32, rows: Int64) -> Float32:
        """Values (B, C) or (B, C, T) as the model knows them: (x - centre) / scale * model's scale + model's centre.

        The same array where no row moves anything; missing values stay missing.
        """
        moved = self._moved[rows]
        if not moved.any():
            return values
        centre, factor, model_centre = self._shaped(rows[moved], values.ndim)
        mapped = values.copy(order="K")
        with np.errstate(over="ignore", invalid="ignore"):
            mapped[moved] = (values[moved] - centre) * factor + model_centre
        return mapped

    def from_model(self, values: Float32, rows: Int64) -> Float32:
        """The way back, finite."""
        moved = self._moved[rows]
        if not moved.any():
            return values
        centre, factor, model_centre = self._shaped(rows[moved], values.ndim)
        mapped = values.copy(order="K")
        with np.errstate(over="ignore"):
            mapped[moved] = np.clip((values[moved] - model_centre) / factor + centre, -LARGEST, LARGEST)
        return mapped

    def given(self, windows: Float32, rows: Int64) -> Float32 | None:
        """(B, C) the samples that windows (B, C, T) ask about, if `restored` has to know them, else None."""
        if not self._cleaned[rows].any():
            return None
        return windows[..., self.model.window - 1 - self.model.lookahead].copy()

    def restored(self, inference: Inference, rows: Int64, given: Float32 | None) -> Inference:
        """What the model says of mapped windows, in the units of their streams, cleaned as is best for these.

        given:  what `given` said of the windows before they were mapped.
        """
        x_hat, expected = self.from_model(inference.x_hat, rows), self.from_model(inference.compared, rows)
        if given is not None:
            cleaned, observed = self._cleaned[rows], ~np.isnan(given)
            x_hat = np.where(observed & (cleaned == Cleaned.BY_AUTOENCODER), expected, x_hat)
            x_hat = np.where(np.isfinite(given) & (cleaned == Cleaned.LEFT_ALONE), given, x_hat)
        return inference if x_hat is inference.x_hat else replace(inference, x_hat=x_hat, expected=expected)

    def _shaped(self, rows: Int64, ndim: int) -> tuple[Float32, Float32, Float32]:
        """Centre, factor and the model's centre of these rows, to be broadcast over values with so many axes."""
        after = (slice(None), slice(None), *[None] * (ndim - 2))
        return self._centre[rows][after], self._factor[rows][after], self._model_centre[None][after]

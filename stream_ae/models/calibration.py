"""Raw scores to tail probabilities, learnt from normal data; here only the curve, `training.calibrate` fits it."""

from dataclasses import dataclass

import numpy as np

from stream_ae.errors import ModelError
from stream_ae.models.config import TailConfig
from stream_ae.records import Float64

LN10 = float(np.log(10.0))


@dataclass(frozen=True, slots=True)
class TailScale:
    """level(raw) = -log10 P(a normal window scores at least `raw`): 0 is nothing, 2 is one normal window in 100.

    Empirical quantiles up to the last knot, a generalised Pareto tail beyond it (Siffer et al. 2017): levels rise
    without end, so that anomalies can still be ranked. knots and levels ascend strictly; sigma > 0, shape >= 0.
    """

    knots: Float64
    levels: Float64
    shape: float
    sigma: float

    def level(self, raw: Float64) -> Float64:
        """(B,) raw scores to (B,) levels; never NaN for a finite or infinite score."""
        level: Float64 = np.interp(raw, self.knots, self.levels)
        beyond = np.flatnonzero(raw > self.knots[-1])
        if beyond.size:
            excess = (raw[beyond] - self.knots[-1]) / self.sigma
            tail = np.log1p(self.shape * excess) / self.shape if self.shape > 0.0 else excess
            level[beyond] = self.levels[-1] + tail / LN10
        return level

    def config(self) -> TailConfig:
        return TailConfig(
            knots=self.knots.tolist(), levels=self.levels.tolist(), shape=float(self.shape), sigma=float(self.sigma)
        )

    @classmethod
    def of(cls, config: TailConfig, where: str) -> "TailScale":
        """Raises ModelError if it is not a curve that rises."""
        knots, levels = np.array(config.knots, np.float64), np.array(config.levels, np.float64)
        rising = (
            0 < len(knots) == len(levels)
            and bool(np.isfinite([*knots, *levels, config.shape, config.sigma]).all())
            and bool((np.diff(knots) > 0).all() and (np.diff(levels) > 0).all())
        )
        if not rising or config.sigma <= 0 or config.shape < 0:
            raise ModelError(f"{where} is not a calibration curve that rises: train and register the version again")
        return cls(knots, levels, config.shape, config.sigma)

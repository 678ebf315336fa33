"""What MLflow loads for a registered version: `mlflow models serve`, its UI and Spark; workers use their own loader."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from stream_ae.api import AutoencoderDetector


class Rows:
    """Scores and denoises rows (N, C) in time order, NaN = missing.

    The rows of one call are one stream, beginning with the first: give Spark whole streams, not slices of them.
    """

    def __init__(self, detector: AutoencoderDetector) -> None:
        self._detector = detector

    def predict(self, rows: ArrayLike, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row for each: `score`, `flag`, and `denoised_` before each channel's name. `params` has no meaning here."""
        x = np.asarray(rows, np.float32)
        score = self._detector.decision_function(x)
        denoised = pd.DataFrame(
            self._detector.denoise(x), columns=[f"denoised_{name}" for name in self._detector.detector_.channels]
        )
        answers = pd.DataFrame({"score": score, "flag": self._detector.predict(x) == 1})
        return pd.concat([answers, denoised], axis="columns")


class Frames:
    """Scores frames (N, C, H, W), NaN = missing, each by itself."""

    def __init__(self, detector: AutoencoderDetector) -> None:
        self._detector = detector

    def predict(self, frames: ArrayLike, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row for each: `score` and `flag`. `params` has no meaning here."""
        x = np.asarray(frames, np.float32)
        return pd.DataFrame({"score": self._detector.decision_function(x), "flag": self._detector.predict(x) == 1})


def _load_pyfunc(path: str) -> Rows | Frames:
    """MLflow's entry point; `path` is the version folder. Runs no code from it."""
    detector = AutoencoderDetector.load(Path(path))
    return Rows(detector) if detector.detector_.frame is None else Frames(detector)

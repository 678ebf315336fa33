"""A model of frames that a test can compute by hand."""

from dataclasses import dataclass

import numpy as np

from stream_ae.records import Float32, Inference, ModelIdentity
from tests.no_bins import NoBins


@dataclass(frozen=True)
class SmoothModel(NoBins):
    """Says that every pixel was meant as the frame's mean; the score is how far the furthest is from it."""

    frame: tuple[int, int, int] = (1, 6, 8)
    channels: tuple[str, ...] = ("grey",)
    version: str = "1"
    threshold: float = 50.0
    start_threshold: float = 0.0
    window: int = 1
    lookahead: int = 0
    shift: float = 0.0

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity("smooth", self.version, f"digest-{self.version}")

    def infer(self, windows: Float32) -> Inference:
        x = windows[..., 0]
        mean = np.nanmean(np.where(np.isnan(x).all(1, keepdims=True), 0.0, x), axis=1, keepdims=True)
        off = np.nan_to_num(np.abs(x - mean))
        share = (off / np.maximum(off.sum(1, keepdims=True), 1e-9)).astype(np.float32)
        x_hat = np.broadcast_to(mean + self.shift, x.shape).astype(np.float32)
        score = off.max(1).astype(np.float64)
        return Inference(x_hat, score, 1 / (1 + score), share)

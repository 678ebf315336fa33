"""Frames to a U-Net that denoises."""

from stream_ae.models.images.detector import ImageDetector
from stream_ae.settings import TrainingSettings
from stream_ae.training.images.frames import Frames


def with_denoiser(detector: ImageDetector, frames: Frames, options: TrainingSettings) -> ImageDetector:
    return detector

"""Frames to a calibrated detector."""

from stream_ae.training.images.choose import chosen_for
from stream_ae.training.images.diffusion import fitted_prior
from stream_ae.training.images.evaluate import evaluate_frames
from stream_ae.training.images.train import ImageReport, TrainedImages, train_frames

__all__ = ["train_frames", "ImageReport", "TrainedImages", "chosen_for", "evaluate_frames", "fitted_prior"]

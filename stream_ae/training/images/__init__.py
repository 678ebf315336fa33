"""Frames to a calibrated detector."""

from stream_ae.training.images.train import ImageReport, TrainedImages, train_frames

__all__ = ["train_frames", "ImageReport", "TrainedImages"]

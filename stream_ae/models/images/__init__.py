"""Image models: frames of any size to denoised frames, scores and maps of where they are wrong."""

from stream_ae.models.images.detector import FrameInference, ImageDetector
from stream_ae.models.images.serialization import is_image_version, load, save

__all__ = ["FrameInference", "ImageDetector", "is_image_version", "load", "save"]

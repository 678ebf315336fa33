"""A version folder of whatever kind: who reads it need not know what it holds."""

from pathlib import Path

from stream_ae.models import serialization
from stream_ae.models.detector import Detector
from stream_ae.models.images import serialization as image_serialization
from stream_ae.models.images.detector import ImageDetector

AnyDetector = Detector | ImageDetector


def load(folder: Path, device: str = "cpu") -> AnyDetector:
    """The detector that `save` wrote; errors as of `serialization.load`."""
    if image_serialization.is_image_version(folder):
        return image_serialization.load(folder, device)
    return serialization.load(folder, device)


def save(detector: AnyDetector, folder: Path) -> None:
    """Write the version folder; the same detector gives the same bytes. An existing version there is replaced."""
    if isinstance(detector, ImageDetector):
        image_serialization.save(detector, folder)
    else:
        serialization.save(detector, folder)

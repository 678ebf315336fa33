"""The detectors of the models' tests."""

from tests.models.images.conftest import detector

__all__ = ["detector"]

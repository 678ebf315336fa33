"""The detectors of the models' tests."""

from tests.models.images.conftest import detector, generative, spatial, tiled, with_prior

__all__ = ["detector", "tiled", "generative", "spatial", "with_prior"]

"""Frames along the directions of codes, between two frames, and the pictures of them."""

import io

import numpy as np
import pytest
from PIL import Image

from stream_ae.models.images import ImageDetector
from stream_ae.training.images.latent import between, traversal
from stream_ae.training.images.picture import frame_pictures
from tests.models.images.conftest import disks


def test_a_traversal_goes_along_the_directions_that_explain_most(detector: ImageDetector) -> None:
    found = traversal(detector, disks(100, seed=1), directions=3, steps=5)
    assert found.frames.shape == (3, 5, *detector.frame)
    assert np.isfinite(found.frames).all()
    assert list(found.explained) == sorted(found.explained, reverse=True)
    assert sum(found.explained) <= 1.0
    # Disks differ in where they are and how large: the ends of the first direction differ by more than noise does.
    ends = np.abs(found.frames[0, 0] - found.frames[0, -1])
    assert ends.mean() > 10.0


def test_one_frame_has_one_direction_that_leads_nowhere(detector: ImageDetector) -> None:
    frames = disks(1)
    found = traversal(detector, frames, directions=4, steps=3)
    assert found.explained == (0.0,)
    np.testing.assert_allclose(found.frames[0, 0], detector.decode(detector.encode(frames))[0], rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("name", ["detector", "tiled"])
def test_what_lies_between_begins_and_ends_with_the_frames_own_codes(name: str, request: pytest.FixtureRequest) -> None:
    model: ImageDetector = request.getfixturevalue(name)
    channels, height, width = model.frame
    first, last = (disks(2, channels, (height, width), seed) for seed in (1, 2))
    way = between(model, first, last, 4)
    assert way.shape == (2, 4, *model.frame)
    for place, frames in ((0, first), (-1, last)):
        np.testing.assert_allclose(way[:, place], model.decode(model.encode(frames)), rtol=1e-3, atol=0.1)


def test_a_model_with_a_normal_prior_shows_its_samples(generative: ImageDetector, detector: ImageDetector) -> None:
    assert set(frame_pictures(detector, disks(30))) == {"frames.png", "latent.png"}
    pictures = frame_pictures(generative, disks(30))
    assert set(pictures) == {"frames.png", "latent.png", "samples.png"}
    for picture in pictures.values():
        assert Image.open(io.BytesIO(picture)).size > (500, 200)


def test_a_diffusion_prior_is_shown_beside_the_normal_one(with_prior: ImageDetector, spatial: ImageDetector) -> None:
    pytest.importorskip("diffusers")
    with_it, without = (frame_pictures(model, disks(30))["samples.png"] for model in (with_prior, spatial))
    assert Image.open(io.BytesIO(with_it)).height > Image.open(io.BytesIO(without)).height


def test_few_frames_and_tiles_are_shown_as_far_as_they_go(detector: ImageDetector, tiled: ImageDetector) -> None:
    assert "latent.png" in frame_pictures(detector, disks(1))
    assert set(frame_pictures(tiled, disks(5, 2, (40, 100)))) == {"frames.png"}
    assert frame_pictures(detector, disks(0)) == {}

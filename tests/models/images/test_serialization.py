"""An image version's folder comes back as it was, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stream_ae.digest import folder_digest
from stream_ae.errors import DigestError, ModelError
from stream_ae.models.about import read_about
from stream_ae.models.images import ImageDetector, is_image_version, load, save
from stream_ae.models.serialization import CONFIG, WEIGHTS
from stream_ae.models.serialization import load as load_signal_model
from tests.models.images.conftest import disks
from tests.models.meddling import with_config, with_tensors


@pytest.fixture
def folder(detector: ImageDetector, tmp_path: Path) -> Path:
    save(detector, tmp_path / "version")
    return tmp_path / "version"


@pytest.mark.parametrize("name", ["detector", "tiled"])
def test_a_reloaded_detector_answers_the_same(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    detector: ImageDetector = request.getfixturevalue(name)
    save(detector, tmp_path)
    channels, height, width = detector.frame
    frames = disks(6, channels, (height, width), seed=1)
    frames[2, :, 3:8, 2:9] = np.nan
    found, before = load(tmp_path).infer_frames(frames), detector.infer_frames(frames)
    for part in type(found).__slots__:
        np.testing.assert_array_equal(getattr(found, part), getattr(before, part))


def test_everything_travels_in_the_folder(detector: ImageDetector, folder: Path) -> None:
    again = load(folder)
    assert (again.channels, again.frame, again.threshold) == (detector.channels, detector.frame, detector.threshold)
    assert again.denoiser.choices == detector.denoiser.choices
    assert again.lineage == {"source": "test"}
    assert again.drift_bins == detector.drift_bins is not None
    assert read_about(folder).frame == detector.frame
    assert (again.identity.name, again.identity.digest) == ("version", folder_digest(folder))


def test_a_generative_model_samples_the_same_after_reloading(generative: ImageDetector, tmp_path: Path) -> None:
    save(generative, tmp_path)
    np.testing.assert_array_equal(load(tmp_path).sample(2, seed=3), generative.sample(2, seed=3))


def test_a_version_of_schema_1_is_still_read(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_bytes())
    del config["prior"], config["drift_bins"]
    (folder / CONFIG).write_text(json.dumps(config | {"schema": 1}))
    assert (load(folder).prior, load(folder).drift_bins) == (None, None)


def test_a_diffusion_prior_travels_in_the_folder(with_prior: ImageDetector, tmp_path: Path) -> None:
    save(with_prior, tmp_path / "version")
    own, again = with_prior.prior, load(tmp_path / "version").prior
    assert own is not None
    assert again is not None
    assert again.config == own.config
    z, times = torch.randn(2, *with_prior.code_shape), torch.tensor([3, 900])
    torch.testing.assert_close(again.unet(z, times), own.unet(z, times), rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"latent": 5}, "5 channels of 4"),
        ({"steps": 2000}, "2000 steps of 1000 times"),
        ({"widths": [60, 90]}, "widths"),
        ({"widths": [64]}, "widths"),
        ({"widths": [64, 64]}, "prior"),
        ({"more": 1}, "more"),
    ],
)
def test_a_diffusion_prior_that_does_not_fit_is_refused(
    with_prior: ImageDetector, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    save(with_prior, tmp_path)
    config = json.loads((tmp_path / CONFIG).read_bytes())
    with_config(tmp_path, prior=config["prior"] | changes)
    with pytest.raises(ModelError, match=says):
        load(tmp_path)


def test_a_diffusion_prior_over_codes_that_are_not_spatial_is_refused(
    with_prior: ImageDetector, folder: Path, tmp_path: Path
) -> None:
    save(with_prior, tmp_path / "other")
    with_config(folder, prior=json.loads((tmp_path / "other" / CONFIG).read_bytes())["prior"])
    with pytest.raises(ModelError, match="not spatial"):
        load(folder)


def test_saving_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    save(load(folder), tmp_path / "again")
    assert folder_digest(tmp_path / "again") == folder_digest(folder)


def test_a_folder_says_that_it_holds_images(folder: Path, tmp_path: Path) -> None:
    assert is_image_version(folder)
    assert not is_image_version(tmp_path / "nowhere")
    for text in ("", "[]", '{"holds": "sounds"}', '{"schema": 3}', "[" * 100_000):
        (folder / CONFIG).write_text(text)
        assert not is_image_version(folder)


def test_a_loader_of_signal_models_refuses_the_folder(folder: Path) -> None:
    with pytest.raises(ModelError, match="not a version's configuration"):
        load_signal_model(folder)


def test_tampered_weights_are_refused(folder: Path) -> None:
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    with pytest.raises(DigestError, match="fetch the version again"):
        load(folder)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_refused(folder: Path, name: str, share: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=name):
        load(folder)


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load(folder)


def _nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors["network.decoder.last.bias"][0] = float("nan")


def _extra(tensors: dict[str, torch.Tensor]) -> None:
    tensors["unet.more"] = torch.zeros(1)


def _fewer(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["usual"]


def _shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["levels.network"] = torch.ones(1, 20, 16)


def _type(tensors: dict[str, torch.Tensor]) -> None:
    tensors["usual"] = tensors["usual"].double()


def _zero(tensors: dict[str, torch.Tensor]) -> None:
    tensors["levels.linear"][0, 3, 3] = 0.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_nan, "NaN or infinite"),
        (_extra, "unet.more is not known"),
        (_fewer, "usual is missing"),
        (_shape, "levels.network is"),
        (_type, "not float32"),
        (_zero, "must be above 0"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], None], says: str
) -> None:
    with_tensors(folder, change)
    with pytest.raises(ModelError, match=says):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"more": 1}, "more"),
        ({"holds": "sounds"}, "holds"),
        ({"schema": 4}, "schema"),
        ({"channels": ["grey", "grey"]}, "channels"),
        ({"channels": []}, "channels"),
        ({"frame": [1, 8, 8]}, "patch"),
        ({"overlap": 16}, "overlap"),
        ({"overlap": -1}, "overlap"),
        ({"denoiser": {"choices": []}}, "choices"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(folder: Path, changes: dict[str, Any], says: str) -> None:
    with_config(folder, **changes)
    with pytest.raises(ModelError, match=says):
        load(folder)


def test_a_giant_network_is_refused_before_it_is_given_room(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_bytes())
    with_config(folder, architecture=config["architecture"] | {"widths": [100_000] * 3})
    with pytest.raises(ModelError, match="network"):
        load(folder)


def test_a_choice_for_a_unet_that_is_not_there_is_refused(folder: Path) -> None:
    choice = {"by": "unet", "fill": "autoencoder", "reason": "", "figures": {}}
    with_config(folder, denoiser={"choices": [choice]})
    with pytest.raises(ModelError, match="U-Net that is not there"):
        load(folder)

"""A version folder comes back as it was, or not at all."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stream_ae.digest import folder_digest
from stream_ae.errors import DigestError, ModelError
from stream_ae.flow.window import windows_of
from stream_ae.models.about import read_about
from stream_ae.models.detector import Detector
from stream_ae.models.serialization import CONFIG, WEIGHTS, load, save
from tests.models.meddling import with_config, with_tensors


@pytest.fixture
def folder(detector: Detector, tmp_path: Path) -> Path:
    save(detector, tmp_path / "version")
    return tmp_path / "version"


def test_a_reloaded_detector_answers_the_same(detector: Detector, folder: Path) -> None:
    windows = windows_of(np.random.default_rng(0).normal(5, 1, (64, 3)).astype(np.float32), 16).copy()
    windows[3, 1, 5:] = np.nan
    again = load(folder)
    for name in ("x_hat", "score", "p_value", "share"):
        np.testing.assert_array_equal(getattr(again.infer(windows), name), getattr(detector.infer(windows), name))


def test_everything_travels_in_the_folder(detector: Detector, folder: Path) -> None:
    again = load(folder)
    assert again.signature == detector.signature
    assert again.units == ("K", "", "Pa")
    assert again.threshold == detector.threshold
    assert again.lineage == {"source": "test"}
    assert again.drift_bins == detector.drift_bins == read_about(folder).drift_bins
    assert (read_about(folder).channels, read_about(folder).frame) == (("a", "b", "c"), None)
    assert again.identity.digest == folder_digest(folder)


def test_a_version_of_schema_4_is_read_as_without_drift_bins(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_bytes())
    del config["drift_bins"]
    (folder / CONFIG).write_text(json.dumps(config | {"schema": 4}))
    assert load(folder).drift_bins is None
    assert read_about(folder).drift_bins is None


def test_drift_bins_that_contradict_the_channels_or_themselves_are_refused(folder: Path) -> None:
    bins = json.loads((folder / CONFIG).read_bytes())["drift_bins"]
    first, *others = bins["inputs"]
    for wrong in ([], others, [first | {"shares": [1.0]}, *others], [first | {"edges": [2.0, 1.0]}, *others]):
        with_config(folder, drift_bins=bins | {"inputs": wrong})
        with pytest.raises(ModelError, match="drift bins"):
            load(folder)


def test_a_folder_holds_two_files_and_saving_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    save(load(folder), tmp_path / "again")
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]
    assert folder_digest(tmp_path / "again") == folder_digest(folder)


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


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} cannot be read"):
        load(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path / "nowhere")


def test_weights_that_are_no_tensors_are_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"\x80\x04}.")
    config = json.loads((folder / CONFIG).read_bytes())
    config["weights_sha256"] = hashlib.sha256(b"\x80\x04}.").hexdigest()
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="not a safetensors file"):
        load(folder)


def _nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors["network.decoder.last.bias"][0] = float("nan")


def _extra(tensors: dict[str, torch.Tensor]) -> None:
    tensors["network.more"] = torch.zeros(1)


def _fewer(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["levels.newest"]


def _shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["normaliser.scale"] = torch.ones(4, 1)


def _type(tensors: dict[str, torch.Tensor]) -> None:
    tensors["normaliser.scale"] = torch.ones(3, 1, dtype=torch.float64)


def _zero(tensors: dict[str, torch.Tensor]) -> None:
    tensors["normaliser.scale"][1] = 0.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_nan, "network.decoder.last.bias holds NaN"),
        (_extra, "network.more is not known"),
        (_fewer, "levels.newest is missing"),
        (_shape, "normaliser.scale"),
        (_type, "float64"),
        (_zero, "normaliser.scale must be above 0"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], None], named: str
) -> None:
    with_tensors(folder, change)
    with pytest.raises(ModelError, match=named):
        load(folder)


def test_a_giant_network_is_refused_before_it_is_built(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_bytes())
    # 4 TB of weights, if anybody made room for them.
    config["architecture"]["hidden"] = [1_000_000, 1_000_000]
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="tensor network"):
        load(folder)


def test_the_digest_is_of_names_and_contents_not_of_the_place(folder: Path, tmp_path: Path) -> None:
    before = folder_digest(folder)
    shutil.copytree(folder, tmp_path / "elsewhere" / "deep")
    assert folder_digest(tmp_path / "elsewhere" / "deep") == before
    (folder / CONFIG).rename(folder / "renamed.json")
    assert folder_digest(folder) != before

"""Profiles on disk: read back as they were, and refused if anything about them is not as it was written."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from stream_ae.digest import folder_digest
from stream_ae.errors import DigestError, ModelError
from stream_ae.flow.profile_folder import ARRAYS, CONFIG, load, save
from stream_ae.flow.profiles import Profiles
from tests.flow.test_profiles import profiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(profiles({"a": 3.0, "ü": 1.6}, centre=2.0, scale=3.0), tmp_path / "profiles")
    return tmp_path / "profiles"


def test_what_was_saved_is_what_is_loaded(folder: Path) -> None:
    before, after = profiles({"a": 3.0, "ü": 1.6}, centre=2.0, scale=3.0), load(folder)
    assert (after.streams, after.channels, after.model) == (before.streams, before.channels, before.model)
    for name in ("model_centre", "model_scale", "centre", "scale", "threshold", "cleaned"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype
    assert after.identity.digest == folder_digest(folder)


def test_a_folder_of_the_first_schema_cleans_as_the_version_chose(folder: Path) -> None:
    arrays = safetensors.numpy.load_file(folder / ARRAYS)
    del arrays["cleaned"]
    safetensors.numpy.save_file(arrays, folder / ARRAYS)
    config = json.loads((folder / CONFIG).read_bytes())
    digest = hashlib.sha256((folder / ARRAYS).read_bytes()).hexdigest()
    (folder / CONFIG).write_text(json.dumps(config | {"schema": 1, "arrays_sha256": digest}))
    assert load(folder).cleaned.tolist() == [[0, 0], [0, 0]]


def test_the_same_profiles_give_the_same_digest(folder: Path, tmp_path: Path) -> None:
    save(load(folder), tmp_path / "again")
    assert folder_digest(tmp_path / "again") == folder_digest(folder)


def changed_config(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_bytes())
        change(config)
        (folder / CONFIG).write_text(json.dumps(config))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / ARRAYS).write_bytes(b"x"), "is not the file that config.json was written with"),
        (lambda folder: (folder / ARRAYS).unlink(), "cannot be read"),
        (lambda folder: (folder / CONFIG).write_bytes(b"{"), "is not a configuration"),
        (changed_config(lambda config: config.update(more=1)), "unknown field `more`"),
        (changed_config(lambda config: config.update(schema=3)), "schema"),
        (changed_config(lambda config: config.pop("model")), "model"),
        (changed_config(lambda config: config.update(streams=["a", "a"])), "two streams alike"),
        (changed_config(lambda config: config.update(streams=["a"])), "array"),
    ],
)
def test_a_spoilt_folder_is_refused_with_the_reason(folder: Path, spoil: Callable[[Path], object], reason: str) -> None:
    spoil(folder)
    with pytest.raises(ModelError, match=reason):
        load(folder)


def test_other_arrays_than_those_that_were_written_are_a_matter_of_the_digest(folder: Path, tmp_path: Path) -> None:
    save(profiles({"a": 3.0, "ü": 9.9}), tmp_path / "other")
    (folder / ARRAYS).write_bytes((tmp_path / "other" / ARRAYS).read_bytes())
    with pytest.raises(DigestError):
        load(folder)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (profiles({"a": np.nan}), "threshold holds NaN"),
        (profiles({"a": 2.0}, scale=0.0), "scale must be above 0"),
        (profiles({"a": 2.0}, scale=1e-20), "scale is not within 1e.06 times the model's"),
        (profiles({"a": 2.0}, centre=np.inf), "centre holds NaN or infinite"),
        (profiles({"a": 2.0}, cleaned=3), "cleaned holds other numbers"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path: Path, wrong: Profiles, reason: str) -> None:
    save(wrong, tmp_path)
    with pytest.raises(ModelError, match=reason):
        load(tmp_path)


def test_reading_profiles_does_not_import_torch() -> None:
    code = "import stream_ae.flow.profile_folder, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

"""`train` on files of images."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stream_ae import AutoencoderDetector
from stream_ae.cli.app import app
from stream_ae.errors import ConfigError
from stream_ae.flow.images.codec import encode_frame
from stream_ae.flow.images.frame import FrameFormat, FrameKind
from tests.models.images.conftest import disks

QUICK = {
    "STREAM_AE_DECODE__RECORDS": "images",
    "STREAM_AE_TRAINING__MAX_EPOCHS": "1",
    "STREAM_AE_TRAINING__DENOISER_STEPS": "2",
}


def stream_ae(*arguments: str | Path) -> str:
    """What the command printed to standard output; its errors are raised."""
    result = CliRunner().invoke(app, [str(part) for part in arguments], env=QUICK, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty PNG files and a file that is none."""
    shots = tmp_path / "shots"
    shots.mkdir()
    for number, frame in enumerate(disks(30)):
        form = FrameFormat(FrameKind.PNG, "uint8", *frame.shape)
        (shots / f"{number:03}.png").write_bytes(encode_frame(frame, form))
    (shots / "notes.txt").write_text("not a frame")
    return shots


def test_a_folder_of_images_makes_a_version_for_frames(folder: Path, tmp_path: Path) -> None:
    said = stream_ae("train", folder, "--out", tmp_path / "v1")
    assert "frames of 20 x 16 pixels (grey)" in said
    assert AutoencoderDetector.load(tmp_path / "v1").detector_.frame == (1, 16, 20)


def test_such_a_version_does_not_score_tables_and_says_how_it_scores(folder: Path, tmp_path: Path) -> None:
    stream_ae("train", folder, "--out", tmp_path / "v1")
    (tmp_path / "in.csv").write_text("x\n1\n")
    with pytest.raises(ConfigError, match="is for frames, not for tables"):
        stream_ae("score", tmp_path / "in.csv", tmp_path / "out.csv", "--model", tmp_path / "v1")


def test_files_that_are_no_frames_or_of_other_sizes_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"notes.txt: .*"):
        stream_ae("train", folder / "notes.txt", "--out", tmp_path / "v1")
    np.save(folder / "larger.npy", np.zeros((20, 20), np.uint8))
    with pytest.raises(ConfigError, match=r"larger.npy is a frame \(1, 20, 20\).* one size"):
        stream_ae("train", folder, "--out", tmp_path / "v1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no file that ends with .png"):
        stream_ae("train", tmp_path / "empty", "--out", tmp_path / "v1")
    with pytest.raises(ConfigError, match="cannot be read"):
        stream_ae("train", tmp_path / "nowhere.png", "--out", tmp_path / "v1")

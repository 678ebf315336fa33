"""`train`, `score` and `denoise`: files in, files out, by the model that workers serve."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from stream_ae.cli.app import app
from stream_ae.errors import ConfigError

QUICK = {
    "STREAM_AE_TRAINING__MAX_EPOCHS": "2",
    "STREAM_AE_TRAINING__WINDOW": "8",
    "STREAM_AE_TRAINING__THREADS": "1",
    # After two epochs it is no match for leaving the values alone.
    "STREAM_AE_TRAINING__DENOISER": "autoencoder",
}


def stream_ae(*arguments: str | Path) -> str:
    """What the command printed to standard output; its errors are raised."""
    result = CliRunner().invoke(app, [str(part) for part in arguments], env=QUICK, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def waves(rows: int, streams: tuple[str, ...] = ("a", "b")) -> pd.DataFrame:
    """Two channels that go together, one row a second and stream."""
    noise = np.random.default_rng(0).normal(0, 0.02, (rows, 2))
    phase = np.sin(np.arange(rows) / 7)
    frame = pd.DataFrame({"timestamp": np.arange(rows), "flow": phase + noise[:, 0], "heat": 2 - phase + noise[:, 1]})
    frame["note"] = "fine"
    return pd.concat([frame.assign(stream=name) for name in streams], ignore_index=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version folder, trained from a file."""
    folder = tmp_path_factory.mktemp("train")
    waves(1500).to_parquet(folder / "normal.parquet")
    said = stream_ae("train", folder / "normal.parquet", "--out", folder / "v1")
    assert "trained on 3,000 rows of 2 streams, 2 channels" in said
    return folder / "v1"


def test_score_adds_columns_and_flags_what_is_wrong(model: Path, tmp_path: Path) -> None:
    frame = waves(300)
    frame.loc[200:203, "flow"] = 9.0
    frame.to_csv(tmp_path / "in.csv", index=False)
    stream_ae("score", tmp_path / "in.csv", tmp_path / "out.csv", "--model", model)
    scored = pd.read_csv(tmp_path / "out.csv")
    assert list(scored.columns) == [*frame.columns, "score", "flag", "channel"]
    assert scored["flag"][200:204].all()
    assert set(scored["channel"][200:204]) == {"flow"}
    assert scored["flag"][:200].mean() < 0.1


def test_a_stream_s_scores_do_not_depend_on_the_other_streams_in_the_file(model: Path, tmp_path: Path) -> None:
    both = waves(100).sort_values("timestamp", kind="stable")
    both.to_csv(tmp_path / "both.csv", index=False)
    both[both["stream"] == "b"].to_csv(tmp_path / "b.csv", index=False)
    for name in ("both", "b"):
        stream_ae("score", tmp_path / f"{name}.csv", tmp_path / f"{name}.parquet", "--model", model)
    together, alone = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("both", "b"))
    # A batch of another size rounds differently in the last digits of float32.
    of_b = together["score"][together["stream"] == "b"].to_numpy()
    np.testing.assert_allclose(of_b, alone["score"].to_numpy(), rtol=1e-3, atol=1e-4)


def test_denoise_replaces_channels_fills_gaps_and_leaves_the_rest(model: Path, tmp_path: Path) -> None:
    frame = waves(50)
    frame.loc[30, "heat"] = np.nan
    frame.to_csv(tmp_path / "in.csv", index=False)
    said = stream_ae("denoise", tmp_path / "in.csv", tmp_path / "out.parquet", "--model", model)
    assert "100 rows denoised, 1 missing values filled in" in said
    denoised = pd.read_parquet(tmp_path / "out.parquet")
    assert list(denoised.columns) == list(frame.columns)
    assert denoised["note"].tolist() == frame["note"].tolist()
    assert denoised["timestamp"].tolist() == frame["timestamp"].tolist()
    assert not denoised[["flow", "heat"]].isna().any(axis=None)
    assert not np.allclose(denoised["flow"], frame["flow"], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "in.csv"], "nowhere to put the model"),
        (["train", "in.csv", "--out", "."], "not an empty folder"),
        (["train", "absent.csv", "--out", "v"], "absent.csv does not exist"),
        (["score", "in.csv", "out.csv", "--model", "absent"], "--model absent is not a folder"),
        (["score", "in.csv", "out.csv", "--model", ".", "--version", "1"], "exclude each other"),
        (["score", "in.csv", "out.xls", "--model", "."], "'.xls' is not known"),
        (["denoise", "in.csv", "absent/out.csv", "--model", "."], "no folder absent"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("flow,heat\n1,2\n")
    with pytest.raises(ConfigError, match=message):
        stream_ae(*arguments)


def test_a_file_without_the_model_s_channels_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("flow\n1\n")
    with pytest.raises(ConfigError, match="no column 'heat'"):
        stream_ae("score", tmp_path / "in.csv", tmp_path / "out.csv", "--model", model)

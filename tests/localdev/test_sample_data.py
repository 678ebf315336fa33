"""The shipped telemetry: whole, in its original units, with its licence beside it."""

import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from stream_ae.errors import ConfigError
from stream_ae.localdev import sample_data


def test_six_machines_of_one_shape_with_labelled_events() -> None:
    machines = sample_data.load()
    assert [machine.name for machine in machines] == list(sample_data.NAMES)
    for machine in machines:
        assert machine.train.shape == (8640, 19)
        assert machine.test.shape == (4320, 19)
        assert machine.label.shape == (4320,)
        assert machine.train.dtype == machine.test.dtype == np.float32
        assert 0 <= machine.train.min() <= machine.train.max() <= 1
        assert 0 < machine.label.mean() < 0.2


def test_values_are_the_published_ones() -> None:
    folder = Path(os.environ.get("STREAM_AE_DATA", "../shared/data")) / "asd"
    if not folder.is_dir():
        pytest.skip(f"the original data are not at {folder} (STREAM_AE_DATA)")
    for machine in sample_data.load(["omi-1", "omi-5"]):
        with np.load(folder / f"{machine.name}.npz") as original:
            np.testing.assert_array_equal(machine.train, original["train"])
            np.testing.assert_array_equal(machine.test, original["test"])
            np.testing.assert_array_equal(machine.label, original["label"].astype(bool))


def test_licence_and_source_travel_with_the_data() -> None:
    folder = resources.files("stream_ae.localdev") / "data"
    assert "MIT License" in (folder / "LICENSE").read_text()
    assert "InterFusion" in (folder / "README.md").read_text()


def test_an_unknown_machine_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="omi-7.*omi-1"):
        sample_data.load(["omi-7"])


def test_timestamps_end_where_asked_five_minutes_apart() -> None:
    assert sample_data.timestamps(3, 1_000_000).tolist() == [400_000, 700_000, 1_000_000]

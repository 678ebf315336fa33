"""Series from files: what common files hold is recognised, what cannot be used is named in one line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stream_ae.errors import ConfigError
from stream_ae.tables import Layout, Table, check_writable, read, write


def csv(folder: Path, text: str) -> Path:
    file = folder / "pump.csv"
    file.write_text(text)
    return file


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_is_read_whatever_its_separator(tmp_path: Path, separator: str) -> None:
    text = "time,flow,heat\n2026-01-01T00:00:00Z,1.5,\n2026-01-01T00:00:01Z,2.5,7\n".replace(",", separator)
    (series,) = read(csv(tmp_path, text)).series()
    assert series.stream == "pump"
    assert series.channels == ("flow", "heat")
    assert series.timestamp_ms is not None
    assert series.timestamp_ms.tolist() == [1767225600000, 1767225601000]
    np.testing.assert_array_equal(series.values, np.array([[1.5, np.nan], [2.5, 7]], np.float32))


def test_rows_of_several_streams_are_told_apart_by_their_column(tmp_path: Path) -> None:
    table = read(csv(tmp_path, "stream,x\na,1\nb,10\na,2\n"))
    assert {series.stream: series.values[:, 0].tolist() for series in table.series()} == {"a": [1, 2], "b": [10]}


def test_columns_are_chosen_by_option_and_the_others_are_reported(tmp_path: Path) -> None:
    file = csv(tmp_path, "when,unit,x,y,label,note\n1,p1,1,2,0,ok\n2,p1,3,4,1,ok\n")
    table = read(file, Layout(timestamp="when", stream="unit", exclude=("label",)))
    assert table.channels == ("x", "y")
    assert table.ignored == ("label", "note")
    (series,) = read(file, Layout(stream="unit", channels=("y", "x"))).series()
    assert series.channels == ("y", "x")
    assert series.values.tolist() == [[2, 1], [4, 3]]


@pytest.mark.parametrize("times", ["1767225600,1767225601", "1767225600000,1767225601000"])
def test_numeric_times_are_seconds_or_milliseconds_by_their_size(tmp_path: Path, times: str) -> None:
    first, second = times.split(",")
    (series,) = read(csv(tmp_path, f"ts,x\n{first},1\n{second},2\n")).series()
    assert series.timestamp_ms is not None
    assert series.timestamp_ms.tolist() == [1767225600000, 1767225601000]


def test_an_npz_may_name_its_channels_and_times(tmp_path: Path) -> None:
    file = tmp_path / "pump.npz"
    np.savez(file, x=np.ones((2, 2)), channels=np.array(["flow", "heat"]), timestamp=np.array([1000.0, 2000.0]))
    (series,) = read(file).series()
    assert series.channels == ("flow", "heat")
    assert series.timestamp_ms is not None
    assert series.timestamp_ms.tolist() == [1_000_000, 2_000_000]
    np.savez(file, readings=np.ones(3))
    assert read(file, Layout(array="readings")).series()[0].values.shape == (3, 1)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"timestamp": [1.0, 2.0], "stream": ["a", "b"], "x": [0.25, np.nan]})
    write(frame, tmp_path / f"out{suffix}")
    table = read(tmp_path / f"out{suffix}")
    assert (table.timestamp, table.stream, table.channels) == ("timestamp", "stream", ("x",))
    np.testing.assert_array_equal(table.values(), np.array([[0.25], [np.nan]], np.float32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x\n1\ninf\n", "row 2, column 'x': inf is not finite"),
        ("x\n1\n1e308\n", "row 2, column 'x': 1e\\+308 is not finite"),
        ("time,x\n2,1\n1,1\n", "row 2: the time of stream 'pump' runs backwards"),
        ("time,x\n1,1\n,1\n", "row 2: no time"),
        ("time,x\nyesterday,1\n", "no usable times"),
        ("stream,x\na,1\n,2\n", "row 2: no stream id"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(csv(tmp_path, text)).series()


@pytest.mark.parametrize(
    ("text", "layout", "message"),
    [
        ("x\n", Layout(), "holds no rows"),
        ("", Layout(), "cannot be read as csv"),
        ("x,y\n1,2,3,4\n1\n1,2,3,4,5,6\n", Layout(), "cannot be read as csv"),
        ("note\nhello\n", Layout(), "no numeric column.*note"),
        ("x\n1\n", Layout(channels=("flow",)), "no column 'flow'.*it has x"),
        ("x\n1\n", Layout(timestamp="when"), "no column 'when' \\(--timestamp-column\\)"),
        ("x,y\n1,a\n", Layout(channels=("y",)), "'y' is not numeric \\(it holds 'a'\\)"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, text: str, layout: Layout, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(csv(tmp_path, text), layout)


@pytest.mark.parametrize("name", ["broken.npz", "broken.parquet"])
def test_a_broken_binary_file_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not what the name says")
    with pytest.raises(ConfigError, match="cannot be read as") as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_file_a_folder_and_an_unknown_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read(tmp_path / "absent.csv")
    with pytest.raises(ConfigError, match="is a folder"):
        read(tmp_path)
    (tmp_path / "x.xlsx").write_bytes(b"")
    with pytest.raises(ConfigError, match="'.xlsx' is not known; use .csv"):
        read(tmp_path / "x.xlsx")
    with pytest.raises(ConfigError, match="no folder"):
        check_writable(tmp_path / "absent" / "out.csv")


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", values=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ConfigError, match="cannot be read as npz"):
        read(tmp_path / "x.npz")


def test_a_file_without_times_gives_series_without_times() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    table = Table(Path("pump.csv"), frame, ("x",), None, None)
    assert table.series()[0].timestamp_ms is None

"""Series of samples from files and back: CSV, Parquet and npz.

A table has one row a sample, a column a channel; a column of timestamps and one of stream ids are optional.
"""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stream_ae.errors import ConfigError
from stream_ae.records import Float32, Int64

if TYPE_CHECKING:  # importing pandas takes a second; most commands never open a table
    import pandas as pd

FORMATS = (".csv", ".parquet", ".npz")
TIMESTAMP_NAMES = ("timestamp", "timestamp_ms", "time", "datetime", "date", "ts")
STREAM_NAMES = ("stream", "stream_id")
ARRAY_NAMES = ("values", "x", "train")
EPOCH_SECONDS_BELOW = 1e11  # the rule of flow.decode: a smaller number of time is seconds, else milliseconds


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one stream in time order.

    timestamp_ms:  (N,) milliseconds since the Unix epoch; None where the source has no times.
    values:        (N, C) float32, NaN = missing.
    """

    stream: str
    channels: tuple[str, ...]
    timestamp_ms: Int64 | None
    values: Float32


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a file; every part has a default that fits common files.

    timestamp:  column of times, else the first of `TIMESTAMP_NAMES` that is there.
    stream:     column of stream ids, else the first of `STREAM_NAMES`; without one the file is a single stream.
    array:      in an npz, the array of values, else the first of `ARRAY_NAMES`.
    channels:   columns to use, in this order, else every other numeric column.
    exclude:    columns that are not channels, such as labels.
    """

    timestamp: str | None = None
    stream: str | None = None
    array: str | None = None
    channels: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows and what its columns mean. `ignored` are the columns that are nothing of the three."""

    file: Path
    frame: "pd.DataFrame"
    channels: tuple[str, ...]
    timestamp: str | None
    stream: str | None
    ignored: tuple[str, ...] = field(default=())

    def values(self) -> Float32:
        """(N, C) float32 in the file's row order; ConfigError names a cell that is infinite."""
        values = self.frame[list(self.channels)].to_numpy(np.float64, na_value=np.nan)
        with np.errstate(over="ignore"):
            narrow: Float32 = values.astype(np.float32)
        rows, columns = np.nonzero(np.isinf(narrow))
        if len(rows):
            row, column = int(rows[0]), int(columns[0])
            raise ConfigError(
                f"{self.file}, row {row + 1}, column {self.channels[column]!r}: {values[row, column]} is not finite; "
                "leave the cell empty if the value is missing"
            )
        return narrow

    def rows_of_streams(self) -> dict[str, Int64]:
        """The rows of each stream, in the file's order; a file without stream ids is one, named after it."""
        if self.stream is None:
            return {self.file.stem: np.arange(len(self.frame), dtype=np.int64)}
        names = self.frame[self.stream]
        if names.isna().any():
            row = int(names.isna().to_numpy().argmax())
            raise ConfigError(f"{self.file}, row {row + 1}: no stream id in column {self.stream!r}; fill it in")
        grouped = self.frame.groupby(names.astype(str), sort=False).indices
        return {str(name): np.asarray(rows, np.int64) for name, rows in grouped.items()}

    def series(self) -> list[Series]:
        """One series a stream; ConfigError if times run backwards within one."""
        values, times = self.values(), self._timestamps()
        found = []
        for name, rows in self.rows_of_streams().items():
            own = None if times is None else times[rows]
            if own is not None and (np.diff(own) < 0).any():
                row = int(rows[int((np.diff(own) < 0).argmax()) + 1])
                raise ConfigError(
                    f"{self.file}, row {row + 1}: the time of stream {name!r} runs backwards; sort the file by "
                    f"{self.timestamp!r}"
                )
            found.append(Series(name, self.channels, own, values[rows]))
        return found

    def _timestamps(self) -> Int64 | None:
        if self.timestamp is None:
            return None
        return _epoch_ms(self.frame[self.timestamp], self.file)


def read(file: Path, layout: Layout = Layout()) -> Table:
    """The table in a file. Raises ConfigError, in one line, for whatever cannot be used."""
    frame = _frame(file, layout)
    if frame.empty:
        raise ConfigError(f"{file} holds no rows")
    columns = [str(column) for column in frame.columns]
    frame.columns = columns
    timestamp = _named(layout.timestamp, TIMESTAMP_NAMES, columns, file, "--timestamp-column")
    stream = _named(layout.stream, STREAM_NAMES, columns, file, "--stream-column")
    for name in (*layout.channels, *layout.exclude):
        _require(name, columns, file)
    others = [name for name in columns if name not in (timestamp, stream, *layout.exclude)]
    numeric = [name for name in others if _is_numeric(frame[name])]
    channels = layout.channels or tuple(numeric)
    text = [name for name in channels if not _is_numeric(frame[name])]
    if text:
        raise ConfigError(f"{file}: column {text[0]!r} is not numeric (it holds {frame[text[0]].iloc[0]!r})")
    if not channels:
        raise ConfigError(f"{file}: no numeric column to take as a channel; it has {_listed(columns)}")
    ignored = tuple(name for name in columns if name not in (timestamp, stream, *channels))
    return Table(file, frame, tuple(channels), timestamp, stream, ignored)


def write(frame: "pd.DataFrame", file: Path) -> None:
    """Write a table in the format that the file's suffix names."""
    match file.suffix.lower():
        case ".csv":
            frame.to_csv(file, index=False)
        case ".parquet":
            frame.to_parquet(file, index=False)
        case ".npz":
            np.savez_compressed(file, **_arrays(frame))
        case _:
            raise _unknown_format(file)


def check_writable(file: Path) -> None:
    """ConfigError now rather than after the work: an unknown suffix or a folder that is not there."""
    if file.suffix.lower() not in FORMATS:
        raise _unknown_format(file)
    if not file.parent.is_dir():
        raise ConfigError(f"cannot write {file}: there is no folder {file.parent}")


def with_channels(layout: Layout, channels: Sequence[str]) -> Layout:
    """The same layout, reading exactly these channels."""
    return replace(layout, channels=tuple(channels))


def _frame(file: Path, layout: Layout) -> "pd.DataFrame":
    import pandas as pd

    if not file.is_file():
        raise ConfigError(f"{file} {'is a folder' if file.is_dir() else 'does not exist'}: name a data file")
    try:
        match file.suffix.lower():
            case ".csv":
                return pd.read_csv(file, sep=_separator(file))
            case ".parquet":
                return pd.read_parquet(file)
            case ".npz":
                return _npz_frame(file, layout)
            case _:
                raise _unknown_format(file)
    # pandas, pyarrow and numpy raise subclasses of these for broken files
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{file} cannot be read as {file.suffix[1:]}: {' '.join(str(error).split())}") from error


def _npz_frame(file: Path, layout: Layout) -> "pd.DataFrame":
    import pandas as pd

    with np.load(file, allow_pickle=False) as stored:
        arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
    name = layout.array or next((known for known in ARRAY_NAMES if known in arrays), None)
    if name is None or name not in arrays:
        raise ConfigError(f"{file}: no array {layout.array or ARRAY_NAMES}; it holds {_listed(arrays)} (--array NAME)")
    values = np.asarray(arrays.pop(name))
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise ConfigError(
            f"{file}: array {name!r} has shape {values.shape} of {values.dtype}; (rows, channels) is needed"
        )
    names = arrays.pop("channels", np.array([f"x{number}" for number in range(values.shape[1])]))
    if len(names) != values.shape[1]:
        raise ConfigError(f"{file}: {len(names)} names in 'channels' for {values.shape[1]} columns of {name!r}")
    frame = pd.DataFrame(values, columns=[str(channel) for channel in names])
    beside = (*TIMESTAMP_NAMES, *STREAM_NAMES, layout.timestamp, layout.stream)
    for other, column in arrays.items():
        if other in beside and np.shape(column) == (len(values),):
            frame[other] = column
    return frame


def _arrays(frame: "pd.DataFrame") -> dict[str, Any]:
    """Channels as one array `values` with their names; times and streams beside it (numpy pickles no objects)."""
    beside = [name for name in frame.columns if not _is_numeric(frame[name]) or name in TIMESTAMP_NAMES]
    channels = [name for name in frame.columns if name not in beside]
    arrays: dict[str, Any] = {name: frame[name].to_numpy() for name in beside}
    arrays = {name: array.astype(str) if array.dtype == object else array for name, array in arrays.items()}
    return {"values": frame[channels].to_numpy(), "channels": np.array(channels), **arrays}


def _separator(file: Path) -> str:
    """Comma, semicolon or tab: whichever the first line has most of."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        head = lines.readline()
    return max(",;\t", key=head.count)


def _named(asked: str | None, usual: Sequence[str], columns: list[str], file: Path, option: str) -> str | None:
    if asked is not None:
        _require(asked, columns, file, option)
        return asked
    lower = {name.lower(): name for name in reversed(columns)}
    return next((lower[name] for name in usual if name in lower), None)


def _require(name: str, columns: Sequence[str], file: Path, option: str = "") -> None:
    if name not in columns:
        raise ConfigError(f"{file} has no column {name!r}{f' ({option})' if option else ''}; it has {_listed(columns)}")


def _listed(names: Any) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:12]) + (f", ... ({len(shown)} in all)" if len(shown) > 12 else "")


def _is_numeric(column: "pd.Series[Any]") -> bool:
    from pandas.api import types

    return bool(types.is_numeric_dtype(column) or column.isna().all()) and not types.is_bool_dtype(column)


def _epoch_ms(column: "pd.Series[Any]", file: Path) -> Int64:
    import pandas as pd

    if column.isna().any():
        raise ConfigError(f"{file}, row {int(column.isna().to_numpy().argmax()) + 1}: no time in {column.name!r}")
    if _is_numeric(column):
        number = column.to_numpy(np.float64)
        return np.where(np.abs(number) < EPOCH_SECONDS_BELOW, number * 1000, number).round().astype(np.int64)
    try:
        is_time = pd.api.types.is_datetime64_any_dtype(column)
        moments = pd.to_datetime(column, utc=True, format=None if is_time else "ISO8601")
    except ValueError as error:
        raise ConfigError(f"{file}: column {column.name!r} holds no usable times: {_first_line(error)}") from error
    return moments.to_numpy("datetime64[ms]").astype(np.int64)


def _first_line(error: Exception) -> str:
    return re.split(r"[\n.]", str(error), maxsplit=1)[0]


def _unknown_format(file: Path) -> ConfigError:
    return ConfigError(f"{file}: the format {file.suffix or '(none)'!r} is not known; use {', '.join(FORMATS)}")

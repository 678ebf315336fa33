"""The real data that quality is measured on, see its README; it is not ours to pass on, so it may be absent."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_ae.records import Bool, Float32

ROOT = Path(os.environ.get("STREAM_AE_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
SKAB_TRAIN_ROWS = 400
SKAB_NOT_VALUES = ("datetime", "anomaly", "changepoint")
HISTORY = 64
"""Rows before the test part that windows may look back at."""


@dataclass(frozen=True, slots=True)
class Series:
    """One machine or run: rows (N, C) to train on, those that follow them to score, and which of those are anomalies.

    buffer: the largest softening of VUS-PR, rows. rows_per_day: 0 where a series is shorter than that.
    guilty: anomalous ranges [begin, end) of the test rows with the channels that are to blame, where that is known.
    """

    group: str
    name: str
    train: Float32
    test: Float32
    label: Bool
    buffer: int
    rows_per_day: int = 0
    guilty: tuple[tuple[range, frozenset[int]], ...] = ()

    @property
    def history(self) -> Float32:
        """The last rows before the test part."""
        return self.train[-HISTORY:]


def sensors() -> Iterator[Series]:
    """Server metrics (ASD, SMD) and a water circulation test bed (SKAB), by the protocols of the page."""
    for number in range(1, 7):
        arrays = np.load(ROOT / "asd" / f"omi-{number}.npz")
        guilty = _guilty(ROOT / "asd" / "interpretation_label" / f"omi-{number}.txt")
        yield _series("ASD", f"omi-{number}", arrays, 24, 288, guilty)
    for name in ("1-6", "2-1"):
        yield _series("SMD", name, np.load(ROOT / "smd" / f"machine-{name}.npz"), 100, 1440)
    for folder in ("valve2", "other"):
        for path in sorted((ROOT / "skab" / "data" / folder).glob("*.csv"), key=lambda path: int(path.stem)):
            yield _skab(folder, path)


def _series(
    group: str,
    name: str,
    arrays: "np.lib.npyio.NpzFile",
    buffer: int,
    rows_per_day: int,
    guilty: tuple[tuple[range, frozenset[int]], ...] = (),
) -> Series:
    train, test = arrays["train"].astype(np.float32), arrays["test"].astype(np.float32)
    return Series(group, name, train, test, arrays["label"].astype(np.bool_), buffer, rows_per_day, guilty)


def _skab(folder: str, path: Path) -> Series:
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    names = [name for name in rows[0] if name not in SKAB_NOT_VALUES]
    x = np.array([[float(row[name]) for name in names] for row in rows], np.float32)
    label: NDArray[np.bool_] = np.array([float(row["anomaly"]) > 0 for row in rows])
    train, test = x[:SKAB_TRAIN_ROWS], x[SKAB_TRAIN_ROWS:]
    return Series(f"SKAB {folder}", path.stem, train, test, label[SKAB_TRAIN_ROWS:], 60)


def _guilty(path: Path) -> tuple[tuple[range, frozenset[int]], ...]:
    """Lines `first-last:channel,channel`, channels counted from 1."""
    found = []
    for line in path.read_text(encoding="utf-8").split():
        span, channels = line.split(":")
        first, last = (int(number) for number in span.split("-"))
        found.append((range(first, last + 1), frozenset(int(channel) - 1 for channel in channels.split(","))))
    return tuple(found)

"""What a demo run has to show for itself: numbers from the topics, and their table for a terminal."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import orjson
from rich.table import Table

from stream_ae.records import Bool, Float32, Float64, Int64


@dataclass(frozen=True, slots=True)
class Answered:
    """One stream as it came out of the topics, in time order; row i of every column is the same sample.

    raw, cleaned:  (N, C) float32 in the input's units.
    score:         (N,) float64; threshold: (N,) of the version that answered, NaN where no record told it.
    flag, label:   (N,) what the model and what the publishers call an anomaly.
    version:       (N,) the model version that answered.
    """

    stream: str
    channels: tuple[str, ...]
    timestamp_ms: Int64
    raw: Float32
    cleaned: Float32
    score: Float64
    threshold: Float64
    flag: Bool
    label: Bool
    version: Int64


@dataclass(frozen=True, slots=True)
class FlaggedEvent:
    """One anomaly as an alert consumer saw it, from `open` to `close`; `labelled`: the publishers saw it too."""

    stream: str
    begin_ms: int
    end_ms: int
    peak_score: float
    channels: tuple[str, ...]
    labelled: bool


@dataclass(frozen=True, slots=True)
class Numbers:
    """The demo's result; the field names are the keys of `--report FILE`."""

    records_in: int
    cleaned: int
    flagged: int
    dead_letters: int
    lost: int
    doubled: int
    events_found: int
    events_total: int
    false_alarms_per_10k: float
    latency_p50_ms: float
    latency_p99_ms: float
    reload_s: float
    snr_in_db: float
    snr_out_db: float
    relearnt_s: float
    refused: str
    rolled_back: str
    startup_s: float
    total_s: float

    def as_json(self) -> bytes:
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: what was measured, the value, and where it comes from."""

    name: str
    value: str
    meaning: str


def spans(marks: Bool) -> list[tuple[int, int]]:
    """Runs of true as [begin, end) pairs.

    >>> spans(np.array([False, True, True, False, True]))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(marks.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def events_found(streams: Sequence[Answered]) -> tuple[int, int]:
    """How many labelled events have at least one flagged sample, and how many there are."""
    hits = [bool(one.flag[begin:end].any()) for one in streams for begin, end in spans(one.label)]
    return sum(hits), len(hits)


def false_alarms_per_10k(streams: Sequence[Answered]) -> float:
    """Flagged samples among 10,000 that carry no label."""
    normal = sum(int((~one.label).sum()) for one in streams)
    wrong = sum(int((one.flag & ~one.label).sum()) for one in streams)
    return 10_000 * wrong / normal if normal else 0.0


def lines(numbers: Numbers) -> list[Line]:
    """The numbers in words."""
    n = numbers
    return [
        Line("records in", f"{n.records_in:,}", "in the raw topic"),
        Line("cleaned", f"{n.cleaned:,}", "in the cleaned topic: the raw record again, denoised"),
        Line("flagged", f"{n.flagged:,}", "cleaned records that carry an anomaly"),
        Line("dead letters", f"{n.dead_letters:,}", "records that could not be read, with the reason"),
        Line("lost", f"{n.lost:,}", "raw records without a trace in cleaned or dead letters"),
        Line("doubled", f"{n.doubled:,}", "raw records with more than one trace"),
        Line("labelled events found", f"{n.events_found} of {n.events_total}", "at least one sample of it was flagged"),
        Line("false alarms", f"{n.false_alarms_per_10k:.0f}", "flagged among 10,000 samples without a label"),
        Line(
            "latency",
            f"{n.latency_p50_ms:.0f} / {n.latency_p99_ms:.0f} ms",
            "p50 / p99, raw record sent to cleaned record received by a subscriber",
        ),
        Line("reload", f"{n.reload_s:.2f} s", "version announced to first batch on it, slowest worker, under load"),
        Line(
            "denoising", f"{n.snr_in_db:.1f} → {n.snr_out_db:.1f} dB", "signal-to-noise ratio of a noisy ECG, in → out"
        ),
        Line("drift", f"{n.relearnt_s:.0f} s", "sensors got noisier: noticed, retrained, gated and in service"),
        Line("gate", "refused", f"a training cut short: {n.refused.split(' (limit')[0]}"),
        Line("watch", "rolled back", f"a training on the wrong topic: {n.rolled_back}"),
        Line("startup", f"{n.startup_s:.0f} s", "until Kafka, Valkey and MLflow answered"),
        Line("total", f"{n.total_s:.0f} s", "the whole demo"),
    ]


def table(lines: Sequence[Line]) -> Table:
    """The lines as a table; what must not be is red."""
    drawn = Table(box=None, pad_edge=False, show_header=False)
    drawn.add_column(style="bold")
    drawn.add_column(justify="right")
    drawn.add_column(style="dim")
    for line in lines:
        wrong = line.name in ("lost", "doubled") and line.value != "0"
        drawn.add_row(line.name, line.value, line.meaning, style="bold red" if wrong else None)
    return drawn

"""The demo's picture: raw against cleaned, score against threshold, flags against labels."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl

mpl.use("Agg")  # no display is needed, and none is asked for

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from stream_ae.localdev.report import Answered, spans
from stream_ae.records import Bool, Float64

RAW, CLEANED, FLAG, LABEL, SCORE, SWAP = "#8c96a3", "#1565c0", "#d32f2f", "#f6b93b", "#37474f", "#2e7d32"
LEAST_SAMPLES = 240  # 20 hours at five minutes a sample: enough of the ordinary to see the difference
SMALLEST_SCORE = 0.03


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of a stream around a labelled event, and the channel that tells most of it."""

    stream: Answered
    begin: int
    end: int
    channel: int


def png(streams: Sequence[Answered]) -> bytes:
    """The picture as PNG bytes, about 1500 x 1100 pixels."""
    stretch = most_telling(streams)
    with mpl.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"}
    ):
        figure = plt.figure(figsize=(12, 6.2 + 0.34 * len(streams)), dpi=125, layout="constrained")
        grid = figure.add_gridspec(3, 1, height_ratios=[2.4, 2.0, 0.6 + 0.34 * len(streams)])
        signal = figure.add_subplot(grid[0])
        score = figure.add_subplot(grid[1], sharex=signal)
        _draw_signal(signal, stretch)
        _draw_score(score, stretch)
        _draw_overview(figure.add_subplot(grid[2]), streams)
        out = io.BytesIO()
        figure.savefig(out, format="png")
        plt.close(figure)
    return out.getvalue()


def most_telling(streams: Sequence[Answered]) -> Stretch:
    """The stretch whose flags agree best with its labels; the longest stream's beginning if nothing is labelled."""
    best, best_agreement = None, -np.inf
    for one in streams:
        for begin, end in spans(one.label):
            margin = max((LEAST_SAMPLES - (end - begin)) // 2, end - begin)
            first, last = max(begin - margin, 0), min(end + margin, len(one.label))
            agreement = _agreement(one.flag[first:last], one.label[first:last])
            if agreement > best_agreement:
                best, best_agreement = Stretch(one, first, last, _guiltiest(one, begin, end)), agreement
    if best is not None:
        return best
    longest = max(streams, key=lambda one: len(one.score))
    return Stretch(longest, 0, min(len(longest.score), LEAST_SAMPLES), 0)


def _agreement(flag: Bool, label: Bool) -> float:
    """How many of the labelled samples are flagged, less ten times the share of the others that are."""
    return float(flag[label].mean() - 10 * (flag & ~label).mean())


def _guiltiest(one: Answered, begin: int, end: int) -> int:
    """The channel whose raw values are furthest from the cleaned ones, in units of its usual distance."""
    distance = np.abs(one.raw - one.cleaned)
    usual = np.nanmean(distance, axis=0) + 1e-3 * (np.nanstd(one.raw, axis=0) + 1e-9)
    return int(np.nan_to_num(np.nanmean(distance[begin:end], axis=0) / usual).argmax())


def _draw_signal(axes: Axes, stretch: Stretch) -> None:
    one, rows = stretch.stream, slice(stretch.begin, stretch.end)
    when = _dates(one)[rows]
    raw, cleaned = one.raw[rows, stretch.channel], one.cleaned[rows, stretch.channel]
    _shade(axes, when, one.label[rows])
    axes.plot(when, raw, color=RAW, lw=1.0, label="raw")
    axes.plot(when, cleaned, color=CLEANED, lw=1.6, label="cleaned")
    flagged = one.flag[rows]
    axes.plot(when[flagged], raw[flagged], "o", color=FLAG, ms=3.5, label="flagged")
    axes.set_title(f"{one.stream}, channel {one.channels[stretch.channel]}: raw against cleaned")
    _legend(axes)
    axes.tick_params(labelbottom=False)


def _draw_score(axes: Axes, stretch: Stretch) -> None:
    one, rows = stretch.stream, slice(stretch.begin, stretch.end)
    when, score = _dates(one)[rows], _drawable(one.score[rows])
    _shade(axes, when, one.label[rows])
    axes.semilogy(when, score, color=SCORE, lw=1.0, label="score")
    axes.semilogy(when, one.threshold[rows], color=FLAG, lw=1.2, ls="--", label="threshold")
    flagged = one.flag[rows]
    axes.semilogy(when[flagged], score[flagged], "o", color=FLAG, ms=3.5)
    _draw_swaps(axes, one, stretch)
    axes.set_title("anomaly score against its threshold (shaded: labelled as an anomaly by the publishers)")
    _legend(axes)
    _date_axis(axes)


def _draw_swaps(axes: Axes, one: Answered, stretch: Stretch) -> None:
    for row in _swaps(one):
        if stretch.begin <= row < stretch.end:
            axes.axvline(_dates(one)[row], color=SWAP, lw=1.2)
            top = axes.get_ylim()[1]
            axes.text(_dates(one)[row], top, f" version {one.version[row]}", color=SWAP, va="top")


def _draw_overview(axes: Axes, streams: Sequence[Answered]) -> None:
    for place, one in enumerate(streams):
        when = _dates(one)
        for begin, end in spans(one.label):
            first, last = when[begin], when[min(end, len(when) - 1)]
            axes.fill_between([first, last], place - 0.42, place + 0.42, color=LABEL, lw=0)
        axes.plot(when[one.flag], np.full(int(one.flag.sum()), place), "|", color=FLAG, ms=9, mew=0.8)
        for row in _swaps(one):
            axes.plot([when[row]] * 2, [place - 0.48, place + 0.48], color=SWAP, lw=1.6)
    axes.set_yticks(range(len(streams)), [one.stream for one in streams])
    axes.set_ylim(len(streams) - 0.4, -0.6)
    axes.set_title("all streams: labelled events (shaded), flagged samples (red), swap to the next version (green)")
    _date_axis(axes)
    axes.margins(x=0.01)


def _swaps(one: Answered) -> list[int]:
    """The first row that each later version answered."""
    return [int(row) + 1 for row in np.flatnonzero(np.diff(one.version))]


def _shade(axes: Axes, when: "np.ndarray[tuple[int], np.dtype[np.datetime64]]", label: Bool) -> None:
    for place, (begin, end) in enumerate(spans(label)):
        last = min(end, len(when) - 1)
        axes.axvspan(when[begin], when[last], color=LABEL, alpha=0.35, lw=0, label="labelled" if place == 0 else None)


def _drawable(score: Float64) -> Float64:
    """Scores on a logarithmic axis: neither zero nor infinite."""
    finite = score[np.isfinite(score)]
    largest = float(finite.max()) if len(finite) else 1.0
    return np.clip(np.nan_to_num(score, nan=largest, posinf=largest), SMALLEST_SCORE, None)


def _dates(one: Answered) -> "np.ndarray[tuple[int], np.dtype[np.datetime64]]":
    dates: np.ndarray[tuple[int], np.dtype[np.datetime64]] = one.timestamp_ms.astype("datetime64[ms]")
    return dates


def _legend(axes: Axes) -> None:
    """Above the axes, where no line can run through it."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=4, frameon=False, borderaxespad=0.2)


def _date_axis(axes: Axes) -> None:
    formatter = mdates.ConciseDateFormatter(axes.xaxis.get_major_locator())  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)

"""The picture of the worst windows of an hour: read from the topics, bounded, and drawn.

matplotlib draws it, which is no dependency of a monitor: without it there is no picture.
"""

import base64
import importlib.util
import io
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_ae.flow.codec import Codec
from stream_ae.flow.codecs import codec_for
from stream_ae.flow.worst import Flagged, Stretch, joined_batches, stretch_of, worst_of
from stream_ae.models.about import About
from stream_ae.ports import OffsetRange, RecordReader
from stream_ae.records import Float32, ModelIdentity, Partition, RecordBatch
from stream_ae.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Newest flagged records of the hour, in all; raw records on either side of a flagged one, of all streams together, and
# samples of its own stream among them.
MOST_FLAGGED = 5000
MOST_AROUND, MOST_SAMPLES = 2000, 100
WINDOWS, FRAMES = 4, 6
# Flagged records of one stream that are nearer to each other are taken for one event.
APART = 1000
RAW, CLEANED, FLAG, SCORE = "0.55", "#1565c0", "#d32f2f", "#6a1b9a"
FRAME_ROWS = ("raw", "cleaned", "error map")
# The time axis fails beyond the years 1 to 9999, and has a margin; clocks that were never set begin with the year 1.
FIRST_SHOWN_MS, LAST_SHOWN_MS = -30_610_224_000_000, 64_060_588_800_000


def drawable() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


@dataclass(frozen=True, slots=True)
class WorstWindows:
    """Draws what a version has flagged; `opened` gives a reader, which is closed again after each picture."""

    settings: Settings
    opened: Callable[[], RecordReader]

    def picture(self, model: ModelIdentity, about: About, start_ms: int, end_ms: int) -> bytes | None:
        """A PNG of the worst of [start_ms, end_ms) in Kafka time; None where the version flagged nothing.

        Raises TransientError or ConfigError if the topics cannot be read.
        """
        with closing(self.opened()) as reader:
            stretches = self._stretches(reader, model, about, start_ms, end_ms)
        if not stretches:
            return None
        return frames_png(stretches, about) if about.frame else windows_png(stretches, about)

    def _stretches(
        self, reader: RecordReader, model: ModelIdentity, about: About, start_ms: int, end_ms: int
    ) -> list[Stretch]:
        ranges = reader.ranges(self.settings.topics.flagged, start_ms, end_ms)
        most = max(MOST_FLAGGED // max(len(ranges), 1), 1)
        newest = [OffsetRange(each.partition, max(each.begin, each.end - most), each.end) for each in ranges]
        version, count = (model.name, model.version), FRAMES if about.frame else WINDOWS
        worst = worst_of(reader.read(newest), version, count, APART)
        with closing(codec_for(about.channels, about.frame, self.settings)) as codec:
            found = [self._stretch(reader, codec, one, 0 if about.frame else MOST_AROUND) for one in worst]
        return [one for one in found if len(one)]

    def _stretch(self, reader: RecordReader, codec: Codec, one: Flagged, around: int) -> Stretch:
        topics, number, offset = self.settings.topics, one.source.partition, one.source.offset
        span = OffsetRange(Partition(topics.raw, number), max(offset - around, 0), offset + around + 1)
        # Less at the beginning, where retention has deleted, and at the end.
        held = [each for each in reader.ranges(topics.raw) if each.partition == span.partition]
        raw = self._read(reader, topics.raw, [_within(span, each) for each in held])
        cleaned = self._read(reader, topics.cleaned, self._answers(reader, raw, number))
        return stretch_of(one, raw, cleaned, codec, MOST_SAMPLES)

    def _answers(self, reader: RecordReader, raw: RecordBatch, number: int) -> list[OffsetRange]:
        """Where the cleaned records of these raw ones stand: in the same partition, at the same Kafka times."""
        times = raw.timestamp_ms[raw.timestamp_ms >= 0]
        if not len(times):
            return []
        ranges = reader.ranges(self.settings.topics.cleaned, int(times.min()), int(times.max()) + 1)
        mine = [each for each in ranges if each.partition.number == number]
        # Many records may have one time; those that were sent twice are few.
        return [OffsetRange(e.partition, e.begin, min(e.end, e.begin + 4 * MOST_AROUND)) for e in mine]

    def _read(self, reader: RecordReader, topic: str, ranges: Sequence[OffsetRange]) -> RecordBatch:
        wanted = [each for each in ranges if each.begin < each.end]
        return joined_batches(topic, list(reader.read(wanted)) if wanted else [])


def windows_png(stretches: Sequence[Stretch], about: About) -> bytes:
    """Each stretch's worst channel, raw against cleaned, and the score against its threshold below."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Names of streams are anybody's: between two dollar signs matplotlib would read mathematics, and fail.
    with mpl.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False}
    ):
        figure = Figure(figsize=(10, 2.6 * len(stretches)), dpi=110, layout="constrained")
        grid = figure.subplots(2 * len(stretches), squeeze=False, height_ratios=[2, 1] * len(stretches))[:, 0]
        for place, stretch in enumerate(stretches):
            _draw_values(grid[2 * place], stretch, about)
            _draw_score(grid[2 * place + 1], stretch)
        return _png(figure)


def frames_png(stretches: Sequence[Stretch], about: About) -> bytes:
    """A column for each stretch's frame: raw, cleaned, error map; stream and score above."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 8, "text.parse_math": False}):
        height, width = (about.frame or (1, 1, 1))[1:]
        size = (1.7 * len(stretches) + 0.6, len(FRAME_ROWS) * (1.7 * height / width + 0.1) + 0.5)
        figure = Figure(figsize=size, dpi=110, layout="constrained")
        grid = figure.subplots(len(FRAME_ROWS), len(stretches), squeeze=False)
        for column, stretch in enumerate(stretches):
            raw, cleaned = (values[-1].reshape(about.frame or ()) for values in (stretch.raw, stretch.cleaned))
            low, high = _limits(raw)
            for line, picture in enumerate((_shown(raw, low, high), _shown(cleaned, low, high))):
                grid[line][column].imshow(picture, interpolation="nearest", cmap="gray", vmin=0.0, vmax=1.0)
            grid[2][column].imshow(_errors(stretch, raw, cleaned), interpolation="nearest", cmap="inferno")
            grid[0][column].set_title(f"{stretch.about.stream}\n{_title(stretch.about)}", color=FLAG)
            for axes in grid[:, column]:
                axes.set_xticks([])
                axes.set_yticks([])
        for line, name in enumerate(FRAME_ROWS):
            grid[line][0].set_ylabel(name)
        return _png(figure)


def _within(span: OffsetRange, held: OffsetRange) -> OffsetRange:
    return OffsetRange(span.partition, max(span.begin, held.begin), min(span.end, held.end))


def _draw_values(axes: "Axes", stretch: Stretch, about: About) -> None:
    name = stretch.about.worst_channel
    channel = about.channels.index(name) if name in about.channels else 0
    when = _when(stretch)
    axes.plot(when, stretch.raw[:, channel], color=RAW, lw=1.0, label="raw")
    axes.plot(when, stretch.cleaned[:, channel], color=CLEANED, lw=1.4, label="cleaned")
    bad = stretch.flagged
    axes.plot(when[bad], stretch.raw[bad, channel], "o", color=FLAG, ms=3.5, label="flagged")
    axes.set_title(f"{stretch.about.stream}, channel {about.channels[channel]}: {_title(stretch.about)}", loc="left")
    axes.legend(loc="upper right", ncols=3, frameon=False)
    axes.tick_params(labelbottom=False)


def _draw_score(axes: "Axes", stretch: Stretch) -> None:
    when = _when(stretch)
    axes.plot(when, np.where(np.isfinite(stretch.score), stretch.score, np.nan), color=SCORE, lw=1.0)
    threshold = stretch.about.threshold
    if threshold is not None:
        axes.axhline(threshold, color=FLAG, lw=1.0, ls="--")
        above = stretch.score > threshold
        axes.fill_between(when, 0, 1, where=above, color=FLAG, alpha=0.15, lw=0, transform=axes.get_xaxis_transform())
    axes.set_ylabel("score")


def _when(stretch: Stretch) -> NDArray[np.datetime64]:
    """(N,) the times of its samples, those that no axis can show at its ends."""
    return np.clip(stretch.timestamp_ms, FIRST_SHOWN_MS, LAST_SHOWN_MS).astype("datetime64[ms]")


def _title(about: Flagged) -> str:
    score = "not finite" if about.score is None else f"{about.score:.1f}"
    return f"score {score}" if about.p_value is None else f"score {score}, p {about.p_value:.1e}"


def _errors(stretch: Stretch, raw: Float32, cleaned: Float32) -> NDArray[Any]:
    """The map that was flagged with it, else how far cleaned is from raw."""
    _, _, data = stretch.about.error_map.partition("base64,")
    if data:
        from matplotlib.image import imread

        found: NDArray[Any] = imread(io.BytesIO(base64.b64decode(data)), format="png")
        return found
    off: NDArray[Any] = np.nan_to_num(np.abs(raw - cleaned)).mean(0)
    return off


def _limits(raw: Float32) -> tuple[float, float]:
    there = raw[np.isfinite(raw)]
    return (float(there.min()), float(there.max())) if len(there) else (0.0, 1.0)


def _shown(frame: Float32, low: float, high: float) -> NDArray[Any]:
    """(H, W) or (H, W, 3) from 0 to 1; of other numbers of channels the mean."""
    scaled: NDArray[Any] = np.clip((np.nan_to_num(frame, nan=low) - low) / max(high - low, 1e-12), 0.0, 1.0)
    return scaled.transpose(1, 2, 0) if len(frame) == 3 else scaled.mean(0)


def _png(figure: "Figure") -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()

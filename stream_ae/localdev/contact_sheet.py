"""Frames side by side: raw, cleaned, where the model was surprised, and the truth."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream_ae.records import Bool, Float32

ROWS = ("raw", "cleaned", "error map", "truth")
MARK = "#d32f2f"


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame (1, H, W), 0 to 255: its column of the sheet.

    errors:  (h, w) from 0 to 1, None where the frame was not flagged.
    defect:  (H, W) where one was put.
    """

    raw: Float32
    cleaned: Float32
    errors: Float32 | None
    truth: Float32
    defect: Bool
    score: float
    flagged: bool


def contact_sheet(frames: Sequence[Shown]) -> bytes:
    """A PNG, about 170 pixels a frame; what was flagged has a red frame, the defect's outline stands in the truth."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(1.35 * len(frames) + 0.5, 5.9), dpi=125, layout="constrained")
        grid = figure.subplots(len(ROWS), len(frames), squeeze=False)
        for column, one in enumerate(frames):
            pictures = (one.raw[0], one.cleaned[0], one.errors, one.truth[0])
            for line, picture in enumerate(pictures):
                axes = grid[line][column]
                axes.set_xticks([])
                axes.set_yticks([])
                if picture is None:
                    axes.text(0.5, 0.5, "not flagged", ha="center", va="center", color="0.5", transform=axes.transAxes)
                    continue
                errors = ROWS[line] == "error map"
                axes.imshow(picture, cmap="inferno" if errors else "gray", vmin=0, vmax=1 if errors else 255)
            if one.defect.any():
                grid[3][column].contour(one.defect.astype(np.float32), [0.5], colors=MARK, linewidths=1.2)
            grid[0][column].set_title(f"score {one.score:.1f}", color=MARK if one.flagged else "0.2")
            for spine in grid[0][column].spines.values():
                spine.set(color=MARK if one.flagged else "0.7", linewidth=2.0 if one.flagged else 0.8)
        for line, name in enumerate(ROWS):
            grid[line][0].set_ylabel(name)
        out = io.BytesIO()
        figure.savefig(out, format="png")
    return out.getvalue()

"""Frames side by side: raw, cleaned, where the model was surprised, and the truth."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_ae.records import Bool, Float32

UInt8 = NDArray[np.uint8]

ROWS = ("raw", "cleaned", "error map", "truth")
MARK = "#d32f2f"


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame (3, H, W), 0 to 255: its column of the sheet.

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
            pictures = (_picture(one.raw), _picture(one.cleaned), one.errors, _picture(one.truth))
            for line, picture in enumerate(pictures):
                axes = grid[line][column]
                axes.set_xticks([])
                axes.set_yticks([])
                if picture is None:
                    axes.text(0.5, 0.5, "not flagged", ha="center", va="center", color="0.5", transform=axes.transAxes)
                    continue
                # Colours are taken as they are; the map's scale goes from 0 to 1.
                axes.imshow(picture, cmap="inferno", vmin=0, vmax=1)
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


def _picture(frame: Float32) -> UInt8:
    """(H, W, 3) of a frame (3, H, W)."""
    picture: UInt8 = np.rint(np.nan_to_num(frame).clip(0, 255)).astype(np.uint8).transpose(1, 2, 0)
    return picture

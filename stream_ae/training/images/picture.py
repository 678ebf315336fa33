"""The most and the least anomalous held-out frames, as they came, cleaned, and where they are wrong."""

import importlib.util
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_ae.models.images.detector import ImageDetector
from stream_ae.records import Float32

NAME = "frames.png"
COLUMNS = 8
MOST_FRAMES = 512
ROWS = ("raw", "cleaned", "error map")


def frame_pictures(detector: ImageDetector, held_out: Float32) -> dict[str, bytes]:
    """PNG files by name, for MLflow; empty where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None or not len(held_out):
        return {}
    frames = held_out[:MOST_FRAMES]
    order = np.argsort(-detector.infer_frames(frames).score)
    half = min(COLUMNS // 2, len(order))
    return {NAME: contact_sheet(detector, frames[np.r_[order[:half], order[len(order) // 2 :][:half]]])}


def contact_sheet(detector: ImageDetector, frames: Float32) -> bytes:
    """A column for each of frames (N, C, H, W): raw, cleaned, error map; its score above."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    said = detector.infer_frames(frames)
    top = max(float(np.nanpercentile(said.error_map, 99.5)), 1.0)
    rows: list[NDArray[Any]] = [_shown(frames, frames), _shown(said.x_hat, frames), said.error_map]
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(1.3 * len(frames) + 0.6, 4.4), dpi=125, layout="constrained")
        grid = figure.subplots(len(ROWS), len(frames), squeeze=False)
        for line, (name, pictures) in enumerate(zip(ROWS, rows, strict=True)):
            cmap, vmax = ("inferno", top) if name == "error map" else ("gray", 1.0)
            for column, picture in enumerate(pictures):
                axes = grid[line][column]
                axes.imshow(picture, interpolation="nearest", cmap=cmap, vmin=0.0, vmax=vmax)
                axes.set_xticks([])
                axes.set_yticks([])
            grid[line][0].set_ylabel(name)
        for column, score in enumerate(said.score.tolist()):
            mark = " !" if score > detector.threshold else ""
            grid[0][column].set_title(f"score {score:.2f}{mark}")
        out = io.BytesIO()
        figure.savefig(out, format="png")
    return out.getvalue()


def _shown(frames: Float32, like: Float32) -> NDArray[Any]:
    """(N, H, W) or (N, H, W, 3) from 0 to 1, over the range of `like`; of other numbers of channels the mean."""
    low, high = float(np.nanmin(like)), float(np.nanmax(like))
    scaled: NDArray[Any] = np.clip((np.nan_to_num(frames, nan=low) - low) / max(high - low, 1e-12), 0.0, 1.0)
    return scaled.transpose(0, 2, 3, 1) if frames.shape[1] == 3 else scaled.mean(1)

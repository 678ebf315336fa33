"""Pictures of a trained model for MLflow: the most and the least anomalous held-out frames, as they came, cleaned, and
where they are wrong; what its codes stand for; what it makes up."""

import importlib.util
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_ae.models.images.detector import ImageDetector
from stream_ae.records import Float32
from stream_ae.training.images.latent import between, traversal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME, LATENT, SAMPLES = "frames.png", "latent.png", "samples.png"
COLUMNS = 8
MOST_FRAMES = 512
ROWS = ("raw", "cleaned", "error map")
DIRECTIONS, PAIRS = 4, 2


def frame_pictures(detector: ImageDetector, held_out: Float32) -> dict[str, bytes]:
    """PNG files by name, for MLflow; empty where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None or not len(held_out):
        return {}
    frames = held_out[:MOST_FRAMES]
    order = np.argsort(-detector.infer_frames(frames).score)
    half = min(COLUMNS // 2, len(order))
    found = {NAME: contact_sheet(detector, frames[np.r_[order[:half], order[len(order) // 2 :][:half]]])}
    if detector.network.tiling.whole:
        found[LATENT] = latent_sheet(detector, frames)
        if detector.generative:
            found[SAMPLES] = sample_sheet(detector, frames)
    return found


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
        return _png(figure)


def latent_sheet(detector: ImageDetector, frames: Float32) -> bytes:
    """A row for each direction in which the codes of frames (N, C, H, W) differ most, with its share of their variance,
    and rows from one frame to another."""
    found = traversal(detector, frames, DIRECTIONS, COLUMNS)
    names = [f"direction {number}\n{share:.0%}" for number, share in enumerate(found.explained, 1)]
    pairs = min(PAIRS, len(frames) // 2)
    ways = between(detector, frames[:pairs], frames[pairs : 2 * pairs], COLUMNS)
    return sheet([*zip(names, found.frames, strict=True), *(("between", way) for way in ways)], frames)


def sample_sheet(detector: ImageDetector, frames: Float32) -> bytes:
    """Some of frames (N, C, H, W), and what the model makes up from each prior that it has."""
    rows = [("real", frames[:COLUMNS]), ("N(0, I)", detector.sample(COLUMNS))]
    if detector.prior is not None:
        rows += [("diffusion", detector.sample(COLUMNS, seed, "diffusion")) for seed in range(2)]
    return sheet(rows, frames)


def sheet(rows: Sequence[tuple[str, Float32]], like: Float32) -> bytes:
    """Named rows of at most COLUMNS frames (N, C, H, W), over the range of `like`."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 9}):
        height, width = like.shape[2:]
        figure = Figure(figsize=(COLUMNS + 0.8, (height / width + 0.1) * len(rows)), dpi=125, layout="constrained")
        lines = figure.subplots(len(rows), squeeze=False)[:, 0]
        for axes, (name, frames) in zip(lines, rows, strict=True):
            # One picture a row: axes of its own for each frame would take seconds to lay out.
            axes.imshow(_row(_shown(frames, like)), interpolation="nearest", cmap="gray", vmin=0.0, vmax=1.0)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_ylabel(name)
        return _png(figure)


def _row(pictures: NDArray[Any]) -> NDArray[Any]:
    """(H + 2, W', ...) pictures (N, H, W, ...) side by side, a white line around each."""
    edge = ((0, 0), (1, 1), (1, 1), *((0, 0),) * (pictures.ndim - 3))
    return np.concatenate(np.pad(pictures, edge, constant_values=1.0), axis=1)


def _png(figure: "Figure") -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _shown(frames: Float32, like: Float32) -> NDArray[Any]:
    """(N, H, W) or (N, H, W, 3) from 0 to 1, over the range of `like`; of other numbers of channels the mean."""
    low, high = float(np.nanmin(like)), float(np.nanmax(like))
    scaled: NDArray[Any] = np.clip((np.nan_to_num(frames, nan=low) - low) / max(high - low, 1e-12), 0.0, 1.0)
    return scaled.transpose(0, 2, 3, 1) if frames.shape[1] == 3 else scaled.mean(1)

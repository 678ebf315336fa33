"""The latent map as a picture. matplotlib draws it, which is no dependency of workers: without it there is none."""

import importlib.util
import io

import numpy as np

from stream_ae.training.latent_map import LatentMap, latent_map
from stream_ae.training.train import Trained

NAME = "latent-map.png"
FLAG = "#d32f2f"
LARGEST_SHOWN = 4.0


def pictures(trained: Trained) -> dict[str, bytes]:
    """PNG files by name, for MLflow; empty where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return {}
    detector = trained.detector
    return {NAME: png(latent_map(detector, trained.held_out.windows(detector.window, detector.lookahead)))}


def png(found: LatentMap) -> bytes:
    """Held-out windows where their codes lie, coloured by score; anomalies are ringed. About 1000 x 800 pixels."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        # A Figure of its own, not pyplot's: nothing global is touched, and no display is asked for.
        figure = Figure(figsize=(8, 6.4), dpi=125, layout="constrained")
        axes = figure.add_subplot()
        order = np.argsort(found.score)
        x, y = found.points[order].T
        score = np.minimum(found.score[order], LARGEST_SHOWN)
        dots = axes.scatter(x, y, c=score, s=10, cmap="viridis", vmin=0.0, vmax=LARGEST_SHOWN, linewidths=0)
        flagged = ~(found.score[order] <= found.threshold)
        axes.scatter(
            x[flagged], y[flagged], s=36, facecolors="none", edgecolors=FLAG,
            label=f"above the threshold {found.threshold:.3g}: {int(flagged.sum())} of {len(flagged)}",
        )  # fmt: skip
        first, second = found.explained
        axes.set_xlabel(f"first principal component ({first:.0%} of the variance)")
        axes.set_ylabel(f"second principal component ({second:.0%})")
        axes.set_title(f"Latent codes of {len(score):,} held-out windows", loc="left")
        axes.legend(loc="best", frameon=False)
        figure.colorbar(dots, label="score, -log10 of the tail probability", extend="max")
        out = io.BytesIO()
        figure.savefig(out, format="png")
    return out.getvalue()

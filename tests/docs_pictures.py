"""The pictures of the documentation: the demos' own, and MLflow's pages as a person sees them after the demo.

    make pictures

Needs a Chromium (Debian: `apt install chromium`); CHROMIUM names another one.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from mlflow import MlflowClient
from PIL import Image

from stream_ae.cli.demo.life import PIPELINE
from tests.end_to_end.kept_demo import kept_demo

DOCS = Path(__file__).parents[1] / "docs"
CHROMIUM = os.environ.get("CHROMIUM", "chromium")
WIDTH = 1900
# A panel of MLflow's own that offers an assistant stands on the right of every page, however wide.
PAGE_WIDTH = 1410
# Of the page's own clock: its scripts fetch, draw and settle within this.
SETTLED_MS = 60_000
TAKEN_WITHIN_S = 120.0


def main() -> None:
    """Play both demos and take the pictures. Exits with a sentence if there is no Chromium."""
    if shutil.which(CHROMIUM) is None:
        sys.exit(
            f"pictures: there is no {CHROMIUM}: install one (Debian: apt install chromium), or name it in CHROMIUM"
        )
    with TemporaryDirectory(prefix="stream-ae-pictures-") as folder:
        out = Path(folder) / "out"
        with kept_demo(Path(folder) / "said", ["--out", str(out)]) as (_, address):
            for name, (page, height) in _pages(address).items():
                _take(f"{address}/#/{page}", DOCS / name, height)
        shutil.copy(out / "report.png", DOCS / "demo.png")
        subprocess.run([sys.executable, "-m", "stream_ae.cli", "demo-images", "--out", str(out)], check=True)
        shutil.copy(out / "frames.png", DOCS / "demo-images.png")


def _pages(address: str) -> dict[str, tuple[str, int]]:
    """By the file of its picture, a page and how much of it: the versions, and the drift of those in service."""
    client = MlflowClient(address, address)
    experiment = client.get_experiment_by_name(PIPELINE).experiment_id
    runs = client.search_runs(
        [experiment], "tags.`stream_ae.deployed` LIKE '%'", order_by=["attributes.start_time ASC"]
    )
    ids = [run.info.run_id for run in runs]
    drift = {
        "runs": json.dumps(ids),
        "metric": '"score_psi"',
        "experiments": json.dumps([experiment]),
        "plot_metric_keys": '["score_psi"]',
        "plot_layout": '{"autosize":true,"xaxis":{},"yaxis":{}}',
        "x_axis": "step",
        "y_axis_scale": "linear",
        "line_smoothness": "1",
        "show_point": "false",
        "deselected_curves": "[]",
        "last_linear_y_axis_range": "[]",
    }
    return {
        "mlflow-versions.png": (f"models/{PIPELINE}?workflowType=machine_learning", 1500),
        "mlflow-drift.png": ("metric?" + "&".join(f"{name}={quote(value)}" for name, value in drift.items()), 850),
    }


def _take(url: str, file: Path, height: int) -> None:
    print(f"{file.name}: {url}")
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-proxy-server"]
    options = [f"--window-size={WIDTH},{height}", f"--virtual-time-budget={SETTLED_MS}", f"--screenshot={file}"]
    subprocess.run([*command, *options, url], check=True, timeout=TAKEN_WITHIN_S, capture_output=True)
    with Image.open(file) as whole:
        page = whole.crop((0, 0, PAGE_WIDTH, height)).quantize(256)
    page.save(file, optimize=True)


if __name__ == "__main__":
    main()

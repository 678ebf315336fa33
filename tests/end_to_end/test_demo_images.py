"""The image demo as a person runs it, on servers of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_the_image_demo_loses_nothing_cleans_frames_and_finds_defects_where_they_are(tmp_path: Path) -> None:
    scratch, out, numbers = tmp_path / "scratch", tmp_path / "out", tmp_path / "r.json"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "stream_ae.cli", "demo-images", "--report", str(numbers), "--out", str(out)],
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(numbers.read_text())
    assert (report["lost"], report["doubled"], report["dead_letters"]) == (0, 0, 3)
    assert report["frames"] == report["cleaned"] + report["dead_letters"]
    # From noisy frames alone; the best Gaussian blur wins 4.9 dB.
    assert report["psnr_out_db"] > report["psnr_in_db"] + 5.0
    assert report["auroc"] > 0.95
    assert report["defects_found"] > 0.8 * report["defects"] > 30
    assert report["defects_located"] > 0.9 * report["defects_found"]
    assert (out / "frames.png").read_bytes().startswith(b"\x89PNG")
    assert list(scratch.iterdir()) == []

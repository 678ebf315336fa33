"""The image demo as a person runs it, on servers of its own."""

import json
from pathlib import Path

from tests.end_to_end.process import stream_ae


def test_the_image_demo_loses_nothing_cleans_frames_and_finds_defects_where_they_are(tmp_path: Path) -> None:
    scratch, out, numbers = tmp_path / "scratch", tmp_path / "out", tmp_path / "r.json"
    scratch.mkdir()
    command = ["demo-images", "--report", str(numbers), "--out", str(out)]
    done = stream_ae(*command, environment={"TMPDIR": str(scratch)})
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

"""The demo as a person runs it, on servers of its own, with fewer machines."""

import json
from pathlib import Path

import psutil

from tests.end_to_end.process import stream_ae


def test_the_demo_loses_nothing_finds_events_and_leaves_only_its_report(tmp_path: Path) -> None:
    scratch, out, numbers = tmp_path / "scratch", tmp_path / "out", tmp_path / "r.json"
    scratch.mkdir()
    # Fast: the rest of the stream waits for version 2 all the same.
    command = ["demo", "--machines", "2", "--rate", "500", "--report", str(numbers), "--out", str(out)]
    done = stream_ae(*command, environment={"TMPDIR": str(scratch)})
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(numbers.read_text())
    assert (report["lost"], report["doubled"]) == (0, 0)
    assert report["records_in"] == report["cleaned"] + report["dead_letters"]
    assert report["dead_letters"] > 0
    assert 2 * report["events_found"] >= report["events_total"] > 0
    assert report["reload_s"] > 0
    # White noise on an ECG; a low-pass at its 40 Hz alone would win 6 dB.
    assert report["snr_out_db"] > report["snr_in_db"] + 6.0
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    # Self-contained: the picture is inlined, nothing is fetched.
    assert "data:image/png;base64," in page
    assert 'src="http' not in page
    assert list(scratch.iterdir()) == []
    assert [line for line in command_lines() if str(scratch) in line] == []


def command_lines() -> list[str]:
    """Of all living processes."""
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]

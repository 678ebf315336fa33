"""The demo as a person runs it, on servers of its own, with fewer machines; everything is left up until it is read."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from stream_ae.cli.demo.life import PIPELINE
from tests.end_to_end.kept_demo import ENDED_WITHIN_S, kept_demo

# Three trainings, a U-Net's and four more, on a machine that may be busy.
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Demo:
    """A demo with everything up."""

    process: "subprocess.Popen[bytes]"
    scratch: Path
    out: Path
    report: dict[str, Any]
    client: Any
    """MlflowClient of its server."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    scratch, out, numbers, said = folder / "scratch", folder / "out", folder / "r.json", folder / "said"
    scratch.mkdir()
    # Fast: the rest of the stream waits for version 2 all the same.
    options = ["--machines", "2", "--rate", "500", "--report", str(numbers), "--out", str(out)]
    with kept_demo(said, options, {"TMPDIR": str(scratch)}) as (process, address):
        yield Demo(process, scratch, out, json.loads(numbers.read_text()), MlflowClient(address, address))


def test_the_demo_loses_nothing_and_finds_events(demo: Demo) -> None:
    report = demo.report
    assert (report["lost"], report["doubled"]) == (0, 0)
    assert report["records_in"] == report["cleaned"] + report["dead_letters"]
    assert report["dead_letters"] > 0
    assert 2 * report["events_found"] >= report["events_total"] > 0
    assert report["reload_s"] > 0
    # White noise on an ECG; a low-pass at its 40 Hz alone would win 6 dB.
    assert report["snr_out_db"] > report["snr_in_db"] + 6.0


def test_the_report_needs_nothing_but_itself(demo: Demo) -> None:
    assert (demo.out / "report.png").read_bytes().startswith(b"\x89PNG")
    page = (demo.out / "report.html").read_text()
    # Self-contained: the picture is inlined, nothing is fetched.
    assert "data:image/png;base64," in page
    assert 'src="http' not in page


def test_mlflow_shows_drift_noticed_retrained_gated_and_rolled_out(demo: Demo) -> None:
    first, second = _deployed(demo, "1"), _deployed(demo, "2")
    assert first.data.tags["stream_ae.drift_retrain"].endswith("ended with exit code 0")
    assert "PSI" in first.data.tags["stream_ae.last_alert"]
    psi = [point.value for point in demo.client.get_metric_history(first.info.run_id, "score_psi")]
    assert psi[0] < 1.0 < max(psi)
    learnt = _version(demo, "2")
    assert learnt.tags["stream_ae.verdict"].startswith("no worse")
    assert learnt.tags["stream_ae.parent_version"] == "1"
    # It has learnt what the first one found strange.
    after = [point.value for point in demo.client.get_metric_history(second.info.run_id, "score_psi")]
    assert median(after) < max(psi) / 2
    assert demo.client.get_model_version_by_alias(PIPELINE, "champion").version == "2"


def test_mlflow_shows_a_bad_version_refused_and_never_in_service(demo: Demo) -> None:
    refused = _version(demo, "3")
    assert refused.tags["stream_ae.verdict"].startswith("worse")
    assert refused.tags["stream_ae.gate.loss"].startswith("failed")
    assert not _deployments(demo, "3")


def test_mlflow_shows_a_wrong_version_rolled_back_and_why(demo: Demo) -> None:
    wrong = _version(demo, "4")
    assert wrong.tags["stream_ae.verdict"].startswith("no worse")
    assert "of records were flagged" in re.sub(r"of \d+ ", "of ", wrong.tags["stream_ae.rolled_back"])
    assert _deployed(demo, "4").info.status == "FINISHED"
    assert _deployed(demo, "2").info.status == "RUNNING"


def test_ctrl_c_leaves_nothing_but_the_report(demo: Demo) -> None:
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(ENDED_WITHIN_S) == 130
    assert list(demo.scratch.iterdir()) == []
    assert [line for line in command_lines() if str(demo.scratch) in line] == []


def command_lines() -> list[str]:
    """Of all living processes."""
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]


def _version(demo: Demo, version: str) -> Any:
    return demo.client.get_model_version(PIPELINE, version)


def _deployed(demo: Demo, version: str) -> Any:
    (run,) = _deployments(demo, version)
    return run


def _deployments(demo: Demo, version: str) -> list[Any]:
    """Runs that a monitor has written for the version in service."""
    experiment = demo.client.get_experiment_by_name(PIPELINE)
    wanted = f"tags.`stream_ae.version` = '{version}' and tags.`stream_ae.deployed` LIKE '%'"
    found: list[Any] = demo.client.search_runs([experiment.experiment_id], wanted)
    return found

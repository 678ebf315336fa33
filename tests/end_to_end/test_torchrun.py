"""A retraining in two processes, as torchrun starts it, on real servers."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.chaos.fleet import written
from tests.end_to_end.world import CLOCK, PipelineOnServers, good_records


def _torchrun(config: Path) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [*launcher, "-m", "jobs.retrain", "--config", str(config)],
        env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=140, check=False,
    )  # fmt: skip


def test_torchrun_retrains_in_two_processes_and_refuses_in_both(
    make_pipeline: Callable[..., PipelineOnServers], tmp_path: Path
) -> None:
    pipeline = make_pipeline(
        "torchrun",
        training={"window": 8, "max_epochs": 2},
        retrain={"watch_s": 0.0, "rollout_timeout_s": 1.0, "min_samples": 500},
    )
    config = written(pipeline.settings, tmp_path, "retrain")
    refused = _torchrun(config)
    # torchrun's own exit code is 1 for all that is not 0; its report has that of the processes.
    assert refused.returncode == 1
    assert "exitcode  : 4 " in refused.stderr, refused.stderr
    assert "lost another process" not in refused.stderr
    pipeline.send(good_records("a", 800), timestamps_ms=[CLOCK.wall_ms()] * 800)
    trained = _torchrun(config)
    assert trained.returncode == 0, trained.stderr
    assert "rank=1 ranks=2" in trained.stderr
    champion = pipeline.store.champion()
    assert champion is not None
    assert [version.version for version in pipeline.store.versions()] == [champion.version]
    assert champion.tags["stream_ae.offsets"] == "0:0-800"

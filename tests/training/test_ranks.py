"""Several processes that train one network, as torchrun starts them."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.one_shot import EXIT_AWAY
from stream_ae.localdev.process import free_port
from stream_ae.models.bottleneck import GaussianPosterior
from stream_ae.training.checkpoint import Support
from stream_ae.training.dataset import split
from stream_ae.training.together import rows_of
from tests.end_to_end.world import eventually
from tests.training import torchrun_program as program

# Sums of other order differ in the last bits, which Adam's first steps carry into weights as large as its rate.
TOLERANCE = 1e-4
# A rank that hangs would wait for the others for `together.EXCHANGE_TIMEOUT`, five minutes.
BOUND_S = 120.0


def _environment(**more: str) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"} | more


def _torchrun(what: str, folder: Path) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, program.__file__, what, str(folder)],
        env=_environment(), capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


@contextmanager
def _ranks(what: str, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two of them as torchrun starts them, without it: nobody ends one because of the other."""
    shared = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    shared["MASTER_PORT"] = str(free_port())
    started = []
    for rank in range(2):
        with (folder / f"log-{rank}").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, program.__file__, what, str(folder)],
                    env=_environment(RANK=str(rank), **shared), stderr=log, stdout=log,
                )
            )  # fmt: skip
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def _assert_close(alone: torch.Tensor, together: torch.Tensor, what: str) -> None:
    np.testing.assert_allclose(together.numpy(), alone.numpy(), rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


def test_two_processes_under_torchrun_train_the_networks_that_one_does(tmp_path: Path) -> None:
    ran = _torchrun("all_trainings", tmp_path)
    assert ran.returncode == 0, ran.stderr
    for number, (name, weights) in enumerate(program.TRAININGS.items()):
        alone, together = weights(Support()), torch.load(tmp_path / f"{number}.pt", weights_only=True)
        assert alone.keys() == together.keys()
        for part in alone:
            _assert_close(alone[part], together[part], f"{name}: {part}")


def test_when_rank_0_refuses_the_data_the_others_end_quietly_with_its_exit_code(tmp_path: Path) -> None:
    ran = _torchrun("refused", tmp_path)
    assert [(tmp_path / f"exit-{rank}").read_text() for rank in range(2)] == [str(program.UNUSABLE)] * 2
    assert "lost another process" not in ran.stderr


@pytest.mark.parametrize("dying", [0, 1])
def test_when_a_process_is_killed_the_other_ends_and_says_so(tmp_path: Path, dying: int) -> None:
    with _ranks("endless", tmp_path) as ranks:
        eventually((tmp_path / "fitting").exists, "the first epoch", BOUND_S)
        ranks[dying].send_signal(signal.SIGKILL)
        assert ranks[1 - dying].wait(BOUND_S) == EXIT_AWAY
    log = (tmp_path / f"log-{1 - dying}").read_text()
    assert f"rank {1 - dying} of 2 has lost another process of this training" in log
    assert "it goes on from its last checkpoint" in log


@pytest.mark.parametrize(("size", "shape"), [(2, (7, 3)), (3, (2, 3)), (4, (9, 2, 3, 5))])
def test_ranks_draw_together_what_one_process_draws(size: int, shape: tuple[int, ...]) -> None:
    mu = torch.zeros(shape)
    if mu.ndim == 4:
        mu = mu.to(memory_format=torch.channels_last)
    whole = GaussianPosterior(mu, mu).sample(torch.Generator().manual_seed(1))
    parts = []
    for rank in range(size):
        rows = rows_of(rank, size, len(mu))
        part = rows.cut(mu)
        parts.append(GaussianPosterior(part, part).sample(torch.Generator().manual_seed(1), rows))
    assert torch.equal(torch.cat(parts), whole)


def test_windows_travel_as_rows_and_arrive_as_they_were() -> None:
    x = program.waves(400)
    windows = split([x, x[:50], x[:0]], 16, 3, 0.2).fit
    sent = pickle.dumps(windows, protocol=5)
    assert len(sent) < 4 * x.nbytes + 3 * windows.row.nbytes
    again = pickle.loads(sent)
    chosen = np.arange(len(windows))
    np.testing.assert_array_equal(again.windows(chosen), windows.windows(chosen))

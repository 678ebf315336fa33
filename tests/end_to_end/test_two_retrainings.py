"""Two retrainings at once, as processes on real servers: one of them decides, also where the other one was asleep."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import yaml

from jobs.retrain import Outcome
from tests.chaos import entry
from tests.chaos.fatal import Step
from tests.end_to_end.forked import FORKS
from tests.end_to_end.process import as_file
from tests.end_to_end.world import PipelineOnServers, eventually, good_records, with_changes

Make = Callable[..., PipelineOnServers]

ENDS_WITHIN_S = 120.0
TRAINING = {"max_epochs": 1, "window": 8, "denoiser": "autoencoder", "model": "dense"}


class Retrainings:
    """Of one pipeline, each a process of its own."""

    def __init__(self, pipeline: PipelineOnServers, folder: Path) -> None:
        self.pipeline = pipeline
        self._folder = folder
        self._started: list[ForkServerProcess] = []

    def start(self, lease_s: float, step: Step | None = None) -> ForkServerProcess:
        name = f"retrain-{len(self._started)}"
        retrain = {"span_s": 1e9, "min_samples": 50, "tolerance": 1e6, "lock_lease_s": lease_s}
        settings = with_changes(self.pipeline.settings, {"training": TRAINING, "retrain": retrain})
        config = self._folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(as_file(settings, name)), encoding="utf-8")
        process = FORKS.Process(target=entry.run_retrain, args=(config, self._folder / f"{name}.log", step))
        process.start()
        self._started.append(process)
        return process

    def end(self, process: ForkServerProcess) -> int | None:
        """Its exit code."""
        process.join(ENDS_WITHIN_S)
        return process.exitcode

    def kill(self) -> None:
        for process in self._started:
            process.kill()
            process.join()

    @property
    def in_service(self) -> tuple[str, str]:
        """The version that MLflow has as champion, and the one that is announced."""
        champion = self.pipeline.store.champion()
        return champion.version if champion is not None else "", self.pipeline.announced()[0].model.version


@pytest.fixture
def retrainings(make_pipeline: Make, model_folders: Sequence[Path], tmp_path: Path) -> Iterator[Retrainings]:
    pipeline = make_pipeline("two", partitions=1)
    pipeline.publish(model_folders[0])
    pipeline.send(good_records("s", 500))
    made = Retrainings(pipeline, tmp_path)
    yield made
    made.kill()


def asleep(process: ForkServerProcess) -> bool:
    """Whether it has stopped itself."""
    assert process.exitcode is None, f"it ended with {process.exitcode}"
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def wake(process: ForkServerProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)


def test_while_one_retraining_is_at_it_another_one_ends_at_once(retrainings: Retrainings) -> None:
    first = retrainings.start(600.0, Step("store", "register", "before", number=signal.SIGSTOP))
    eventually(lambda: asleep(first), "the first is about to register", ENDS_WITHIN_S)
    assert retrainings.end(retrainings.start(600.0)) == Outcome.LOCKED
    wake(first)
    assert retrainings.end(first) == Outcome.PROMOTED
    assert retrainings.in_service == ("2", "2")


@pytest.mark.parametrize("method", ["register", "promote"])
def test_a_retraining_that_slept_for_longer_than_its_lease_leaves_the_newer_one_s_version_in_service(
    retrainings: Retrainings, method: str
) -> None:
    stale = retrainings.start(1.0, Step("store", method, "before", number=signal.SIGSTOP))
    eventually(lambda: asleep(stale), f"the first is about to {method}", ENDS_WITHIN_S)
    retrainings.pipeline.send(good_records("s", 100, seed=1, start_ms=1_700_001_000_000))

    def another_goes_through() -> bool:
        ended = retrainings.end(retrainings.start(30.0))
        assert ended in (Outcome.PROMOTED, Outcome.LOCKED)
        return ended == Outcome.PROMOTED

    eventually(another_goes_through, "the lease of the first runs out", ENDS_WITHIN_S)
    newer = retrainings.in_service
    assert newer[0] == newer[1] != "1"
    wake(stale)
    assert retrainings.end(stale) == Outcome.LOCKED
    assert retrainings.in_service == newer

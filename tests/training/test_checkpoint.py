"""A training that is killed goes on where it was, and comes out as if it had not been."""

import hashlib
import io
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_ae.settings import TrainingSettings
from stream_ae.testing import ManualClock
from stream_ae.training import Epoch, descend, train
from stream_ae.training.checkpoint import Checkpoints, Resumable, Support, remove
from stream_ae.training.images import train_frames
from tests.training import torchrun_program as program

READINGS = TrainingSettings(
    window=8, max_epochs=3, model="variational", denoiser="unet", denoiser_steps=12, learning_rate=0.02, threads=1
)
FRAMES = READINGS.model_copy(update={"model": "conv2d-spatial", "diffusion_steps": 8, "denoiser_steps": 8})


class Killed(BaseException):
    """Nothing catches it, like SIGKILL."""


class Mortal(Checkpoints):
    """Dies at its nth checkpoint: when it is written, or when it would have been."""

    def __init__(self, folder: Path, dies_at: int, written: bool) -> None:
        super().__init__(folder, "run")
        self._left, self._written = dies_at, written

    def save(self, part: str, done: Resumable) -> None:
        self._left -= 1
        if self._left or self._written:
            super().save(part, done)
        if not self._left:
            raise Killed


def weights_of_readings(support: Support) -> dict[str, torch.Tensor]:
    trained = train([program.waves(300)], ("a", "b"), READINGS, support=support)
    return program.weights_of_readings(trained)


def weights_of_frames(support: Support) -> dict[str, torch.Tensor]:
    return program.weights_of_frames(train_frames(program.frames(), ("grey",), FRAMES, support=support))


@pytest.fixture(autouse=True)
def kept_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """U-Nets of a few steps are kept too."""
    monkeypatch.setattr(descend, "KEPT_EVERY", 5)


UNDISTURBED: dict[str, dict[str, torch.Tensor]] = {}


def undisturbed(kind: str) -> dict[str, torch.Tensor]:
    if kind not in UNDISTURBED:
        UNDISTURBED[kind] = WEIGHTS[kind](Support())
    return UNDISTURBED[kind]


WEIGHTS = {"readings": weights_of_readings, "frames": weights_of_frames}


@given(
    kind=st.sampled_from(["readings", "frames"]),
    kills=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=3),
)
@example(kind="readings", kills=[(2, True)])
@example(kind="frames", kills=[(3, True), (3, True)])
@settings(max_examples=6, deadline=None)
def test_whenever_a_training_is_killed_it_comes_out_to_the_bit_as_if_it_had_not_been(
    kind: str, kills: list[tuple[int, bool]]
) -> None:
    with TemporaryDirectory() as folder:
        for dies_at, written in kills:
            try:
                WEIGHTS[kind](Support(checkpoints=Mortal(Path(folder), dies_at, written)))
            except Killed:
                continue
        found = WEIGHTS[kind](Support(checkpoints=Checkpoints(Path(folder), "run")))
    expected = undisturbed(kind)
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def test_a_process_that_was_killed_hard_leaves_what_another_goes_on_from(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    child = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(root)}, check=False,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL
    heard: list[Epoch] = []
    trained = train(
        [program.waves(300)], ("a", "b"), READINGS, progress=heard.append,
        support=Support(checkpoints=Checkpoints(tmp_path, "run")),
    )  # fmt: skip
    # It died in the third epoch's callback, before that was kept.
    assert [epoch.number for epoch in heard] == [3]
    found, expected = program.weights_of_readings(trained), undisturbed("readings")
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def test_a_time_budget_goes_on_with_what_was_left_of_it(tmp_path: Path) -> None:
    options = READINGS.model_copy(
        update={"max_epochs": 40, "patience": 40, "time_budget_s": 60.0, "denoiser": "autoencoder"}
    )

    def epochs(checkpoints: Checkpoints) -> int:
        clock = ManualClock()
        trained = train(
            [program.waves(300)], ("a", "b"), options,
            progress=lambda epoch: clock.advance(10.0), clock=clock, support=Support(checkpoints=checkpoints),
        )  # fmt: skip
        return trained.report.epochs

    assert epochs(Checkpoints(tmp_path / "undisturbed", "run")) == 6
    with pytest.raises(Killed):
        epochs(Mortal(tmp_path / "killed", 4, written=True))
    assert epochs(Checkpoints(tmp_path / "killed", "run")) == 6


class Counter:
    """The smallest thing that can go on."""

    def __init__(self, count: int = 0, kind: str = "counter") -> None:
        self.count, self.kind = count, kind

    @property
    def depends_on(self) -> list[str]:
        return [self.kind]

    def state(self) -> Mapping[str, Any]:
        return {"count": self.count, "weights": torch.arange(100.0)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]


def kept(folder: Path) -> Path:
    Checkpoints(folder, "run").save("part", Counter(7))
    return folder / "part.checkpoint"


def restored(folder: Path, run: str = "run", kind: str = "counter") -> int:
    """The count that was found, 0 if none was."""
    counter = Counter(kind=kind)
    found = Checkpoints(folder, run).restore("part", counter)
    assert found == (counter.count > 0)
    return counter.count


def test_what_was_kept_is_found_again_by_the_same_run_alone(tmp_path: Path) -> None:
    kept(tmp_path)
    assert restored(tmp_path) == 7
    assert restored(tmp_path, run="other data") == 0
    assert restored(tmp_path, kind="other network") == 0
    assert restored(tmp_path / "elsewhere") == 0


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_damaged_checkpoint_is_never_used(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        file = kept(Path(name))
        whole = file.read_bytes()
        place = data.draw(st.integers(0, len(whole) - 1))
        change = data.draw(st.integers(1, 255))
        cut = data.draw(st.booleans())
        file.write_bytes(whole[:place] if cut else whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
        assert restored(Path(name)) == 0


class Villain:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch villain-was-here",)


@pytest.mark.parametrize("content", ["torch", "pickle", "other"])
def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.chdir(tmp_path)
    file, body = kept(tmp_path), io.BytesIO()
    if content == "pickle":
        body.write(pickle.dumps({"of": "", "state": Villain()}, protocol=2))
    else:
        torch.save({"of": "", "state": Villain()} if content == "torch" else [1, 2], body)
    file.write_bytes(hashlib.sha256(body.getvalue()).digest() + body.getvalue())
    assert restored(tmp_path) == 0
    assert not (tmp_path / "villain-was-here").exists()


@contextmanager
def no_room() -> Iterator[None]:
    """No file may grow beyond some bytes: the kernel refuses to write more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_without_room_the_checkpoint_before_stays_and_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = kept(tmp_path)
    with no_room():
        Checkpoints(tmp_path, "run").save("part", Counter(8))
    assert restored(tmp_path) == 7
    assert list(tmp_path.iterdir()) == [file]
    assert "training goes on without" in caplog.text


def test_a_folder_that_cannot_be_made_costs_the_checkpoints_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "checkpoints"
    found = WEIGHTS["readings"](Support(checkpoints=Checkpoints(folder, "run")))
    assert [name for name in found if not torch.equal(found[name], undisturbed("readings")[name])] == []
    remove(folder)


if __name__ == "__main__":

    def killed(epoch: Epoch) -> None:
        if epoch.number == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    kept_in = Support(checkpoints=Checkpoints(Path(sys.argv[1]), "run"))
    train([program.waves(300)], ("a", "b"), READINGS, progress=killed, support=kept_in)

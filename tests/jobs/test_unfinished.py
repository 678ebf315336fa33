"""A retraining that was killed: the next one goes on where it was."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.retrain import Outcome, Progress, retrain
from stream_ae.models.serialization import load
from stream_ae.records import Partition
from stream_ae.training import Epoch
from tests.jobs.test_retrain import Retraining, waves


class Killed(BaseException):
    """Nothing catches it, like SIGKILL."""


class Mortal(Retraining):
    """A pipeline whose retrainings keep checkpoints, and can be killed."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder / "retrain"
        self.world = replace(self.world, checkpoint_dir=self.folder)
        self.send(waves(600))

    def epochs(self, killed_in: int = 0) -> list[int]:
        """Run, and tell which epochs were run; with `killed_in`, to that one."""
        heard: list[int] = []

        def hear(epoch: Epoch) -> None:
            heard.append(epoch.number)
            if epoch.number == killed_in:
                raise Killed

        progress = Progress(say=self.said.append, collected=lambda done, total: None, epoch=hear)
        try:
            self.outcome = retrain(self.world, self.settings, progress)
        except Killed:
            assert killed_in
        return heard

    def weights(self, folder: Path) -> torch.Tensor:
        detector = load(self.store.fetch("1", folder))
        return torch.cat([part.flatten() for part in detector.network.autoencoder.state_dict().values()])


@pytest.fixture
def mortal(tmp_path: Path) -> Mortal:
    return Mortal(tmp_path)


def test_a_killed_retraining_goes_on_with_its_span_though_records_have_come(mortal: Mortal, tmp_path: Path) -> None:
    assert mortal.epochs(killed_in=3) == [1, 2, 3]
    mortal.send(waves(300, first=600))
    assert mortal.epochs() == [3]
    assert mortal.outcome == Outcome.PROMOTED
    assert mortal.champion.tags["stream_ae.offsets"] == "0:0-600"
    undisturbed = Retraining()
    undisturbed.send(waves(600))
    undisturbed.run()
    again = load(undisturbed.store.fetch("1", tmp_path / "undisturbed"))
    expected = torch.cat([part.flatten() for part in again.network.autoencoder.state_dict().values()])
    assert torch.equal(mortal.weights(tmp_path / "killed"), expected)


def test_an_interrupted_retraining_says_what_the_same_command_does_next(mortal: Mortal) -> None:
    def hear(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    quiet = Progress(say=mortal.said.append, collected=lambda done, total: None, epoch=hear)
    with pytest.raises(KeyboardInterrupt):
        retrain(mortal.world, mortal.settings, quiet)
    assert mortal.said[-1] == "interrupted: the same command goes on from its last checkpoint"


def test_nothing_is_left_of_a_retraining_that_came_to_its_end(mortal: Mortal) -> None:
    mortal.epochs()
    assert not mortal.folder.exists()
    mortal.send(waves(300, first=600))
    assert mortal.epochs() == [1, 2, 3]
    assert mortal.store.versions()[-1].tags["stream_ae.offsets"] == "0:0-900"


def test_what_was_trained_when_mlflow_went_away_is_registered_by_the_next_run(mortal: Mortal) -> None:
    def hear(epoch: Epoch) -> None:
        if epoch.number == 3:
            mortal.store.away()

    quiet = Progress(say=mortal.said.append, collected=lambda done, total: None, epoch=hear)
    assert retrain(mortal.world, mortal.settings, quiet) == Outcome.SERVER_AWAY
    mortal.store.back()
    assert mortal.epochs() == []
    assert mortal.outcome == Outcome.PROMOTED


def test_data_that_cannot_be_used_are_not_gone_on_with(mortal: Mortal) -> None:
    mortal.settings = mortal.settings.model_copy(
        update={"retrain": mortal.settings.retrain.model_copy(update={"min_samples": 10_000})}
    )
    mortal.epochs()
    assert mortal.outcome == Outcome.UNUSABLE_DATA
    assert not mortal.folder.exists()


def _other_settings(mortal: Mortal) -> None:
    training = mortal.settings.training.model_copy(update={"seed": 1})
    mortal.settings = mortal.settings.model_copy(update={"training": training})


def _a_day_later(mortal: Mortal) -> None:
    mortal.clock.advance(mortal.settings.retrain.resume_within_s + 1.0)


def _deleted_records(mortal: Mortal) -> None:
    mortal.broker.delete_records(Partition("raw", 0), 10)


def _damaged(mortal: Mortal) -> None:
    (mortal.folder / "begun.json").write_bytes(b'{"like": "x", "span"')


@pytest.mark.parametrize("change", [_other_settings, _a_day_later, _deleted_records, _damaged])
def test_one_that_cannot_go_on_begins_anew(mortal: Mortal, change: Callable[[Mortal], None]) -> None:
    mortal.epochs(killed_in=3)
    change(mortal)
    mortal.send(waves(100, first=600))
    assert mortal.epochs() == [1, 2, 3]
    assert mortal.champion.tags["stream_ae.offsets"].endswith("-700")


def test_other_data_in_the_same_span_are_not_mixed_with_what_was_learnt(mortal: Mortal) -> None:
    mortal.epochs(killed_in=3)
    # A worker flags a record of the span meanwhile.
    mortal.broker.append(
        "flagged", b'{"state": "open", "source": {"partition": 0, "offset": 300}}', timestamp_ms=mortal.clock.wall_ms()
    )
    assert mortal.epochs() == [1, 2, 3]
    assert mortal.champion.tags["stream_ae.offsets"] == "0:0-600"


def test_without_a_time_to_resume_within_nothing_is_kept(mortal: Mortal) -> None:
    retraining = mortal.settings.retrain.model_copy(update={"resume_within_s": 0.0})
    mortal.settings = mortal.settings.model_copy(update={"retrain": retraining})
    mortal.epochs(killed_in=3)
    assert not mortal.folder.exists()
    assert mortal.epochs() == [1, 2, 3]


def test_a_folder_that_cannot_be_written_costs_only_that(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    mortal = Mortal(tmp_path / "file")
    assert mortal.epochs() == [1, 2, 3]
    assert mortal.outcome == Outcome.PROMOTED

"""Training and comparing by what was collected: readings of sensors or frames."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from stream_ae.clock import Clock
from stream_ae.errors import ModelError
from stream_ae.models.images.detector import ImageDetector
from stream_ae.models.version import AnyDetector
from stream_ae.settings import TrainingSettings
from stream_ae.training.checkpoint import UNSUPPORTED, Support
from stream_ae.training.collect import Collected, Labelled
from stream_ae.training.evaluate import Evaluation, evaluate, one_batch, timed
from stream_ae.training.fit import Progress
from stream_ae.training.images import evaluate_frames
from stream_ae.training.images.evaluate import one_batch_of_frames
from stream_ae.training.images.picture import frame_pictures
from stream_ae.training.images.train import TrainedImages, train_frames
from stream_ae.training.labelled import flagged_shares
from stream_ae.training.picture import pictures
from stream_ae.training.train import Trained, train

AnyTrained = Trained | TrainedImages


def train_collected(
    collected: Collected,
    options: TrainingSettings,
    *,
    lineage: Mapping[str, str],
    progress: Progress,
    holdout_share: float,
    clock: Clock,
    support: Support = UNSUPPORTED,
) -> AnyTrained:
    """Raises ConfigError if nothing can be learnt from the data, with what to do about it."""
    if collected.frame is None:
        return train(
            collected.segments, collected.channels, options, lineage=lineage, progress=progress,
            holdout_share=holdout_share, clock=clock, support=support,
        )  # fmt: skip
    frames = np.concatenate(collected.segments).reshape(-1, *collected.frame)
    return train_frames(
        frames, collected.channels, options, lineage=lineage, progress=progress, clock=clock, support=support
    )


def measured_together(
    trained: AnyTrained, champion: AnyDetector | None, labelled: Labelled
) -> tuple[Evaluation, Evaluation | None]:
    """How what was trained and the champion do on what neither was fitted on, and on what operators labelled; their
    batches are timed in turn.

    Raises ModelError if they are of two kinds.
    """
    own = measured(trained.detector, trained, labelled)
    if champion is None:
        (own_ms,) = timed([_one_batch(trained.detector, trained)])
        return replace(own, batch_ms=own_ms), None
    before = measured(champion, trained, labelled)
    own_ms, before_ms = timed([_one_batch(detector, trained) for detector in (trained.detector, champion)])
    return replace(own, batch_ms=own_ms), replace(before, batch_ms=before_ms)


def measured(detector: AnyDetector, trained: AnyTrained, labelled: Labelled) -> Evaluation:
    """How a detector does on what `trained` was not fitted on, and on what operators labelled.

    Raises ModelError if it is of another kind.
    """
    shares = flagged_shares(detector, labelled)
    if isinstance(trained, TrainedImages) and isinstance(detector, ImageDetector):
        return replace(evaluate_frames(detector, trained.held_out), labelled=shares)
    if isinstance(trained, Trained) and not isinstance(detector, ImageDetector):
        return replace(evaluate(detector, trained.held_out), labelled=shares)
    raise ModelError("frames and readings of sensors cannot be compared: give each a pipeline name of its own")


def _one_batch(detector: AnyDetector, trained: AnyTrained) -> Callable[[], object]:
    if isinstance(trained, TrainedImages):
        assert isinstance(detector, ImageDetector)
        return one_batch_of_frames(detector, trained.held_out)
    assert not isinstance(detector, ImageDetector)
    return one_batch(detector, trained.held_out)


def pictures_of(trained: AnyTrained) -> dict[str, bytes]:
    """PNG files by name, for MLflow; empty where matplotlib is not installed."""
    if isinstance(trained, TrainedImages):
        return frame_pictures(trained.detector, trained.held_out)
    return pictures(trained)

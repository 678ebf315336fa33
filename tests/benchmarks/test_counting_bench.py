"""What counting inputs and codes for drift costs a worker, as a share of what answering the same batches costs."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from stream_ae.models.version import AnyDetector
from stream_ae.records import Float32
from stream_ae.settings import TrainingSettings
from stream_ae.training import train
from stream_ae.training.images import train_frames
from stream_ae.worker.counting import DriftCounter
from stream_ae.worker.inference import Inferrer
from tests.worker.fakes import work_of

pytestmark = pytest.mark.bench


def signals(channels: int, model: str) -> AnyDetector:
    rows = np.random.default_rng(0).standard_normal((3000, channels)).astype(np.float32)
    options = TrainingSettings.model_validate({"model": model, "max_epochs": 1, "denoiser": "autoencoder"})
    return train([rows], [f"c{number}" for number in range(channels)], options).detector


def frames(side: int) -> AnyDetector:
    made = np.random.default_rng(0).integers(0, 255, (60, 1, side, side)).astype(np.uint8)
    return train_frames(made, ("grey",), TrainingSettings(max_epochs=1, denoiser="autoencoder")).detector


def measured(detector: AnyDetector, windows: Float32) -> tuple[float, float, int]:
    """Seconds of a core to answer batches and to count them, until codes were counted twice, and how many batches."""
    inferrer, counter, batches, codes = Inferrer(), DriftCounter(), 0, 0
    work = work_of(detector, windows)
    answering_s = counting_s = 0.0
    while codes < 2:
        begun = time.process_time()
        answer = inferrer.answer(detector, windows)
        answered = time.process_time()
        codes += bool(len(counter.counted(work, answer).latents))
        counting_s += time.process_time() - answered
        answering_s += answered - begun
        batches += 1
    return answering_s, counting_s, batches


@pytest.mark.parametrize("batch", [1, 64, 2048])
@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: signals(8, "dense"), id="8 channels, dense"),
        pytest.param(lambda: signals(8, "conv1d"), id="8 channels, conv1d"),
        pytest.param(lambda: signals(128, "dense"), id="128 channels, dense"),
        pytest.param(lambda: frames(28), id="frames of 28 x 28"),
        pytest.param(lambda: frames(256), id="frames of 256 x 256"),
    ],
)
def test_counting_costs_this_share_of_answering(
    made: Callable[[], AnyDetector], batch: int, request: pytest.FixtureRequest
) -> None:
    detector = made()
    if detector.frame is not None and batch > 1:
        pytest.skip("a frame costs the same in any batch")
    width = int(np.prod(detector.frame)) if detector.frame else len(detector.channels)
    # As workers lay them: sample by sample.
    windows = np.random.default_rng(1).standard_normal((batch, detector.window, width), np.float32).transpose(0, 2, 1)
    answering_s, counting_s, batches = measured(detector, windows)
    print(
        f"\n{request.node.callspec.id}: {batches} batches are answered in {1000 * answering_s:.0f} ms, counted in "
        f"{1000 * counting_s:.1f} ms: {100 * counting_s / answering_s:.2f} %"
    )

"""How fast frames go through the flow, against the model alone: CPU time of one core."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np
import torch

from stream_ae.flow.images.codec import encode_frame
from stream_ae.flow.images.frame import FrameFormat, FrameKind
from stream_ae.flow.pipeline import Pipeline
from stream_ae.models.images import ImageDetector
from stream_ae.records import Float32, Partition, RecordBatch
from stream_ae.settings import BatchSettings, DecodeSettings, Settings, TrainingSettings
from stream_ae.training.images import train_frames

OPTIONS = TrainingSettings(denoiser_steps=20, max_epochs=1)
REPEATS = 3
START_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class FrameSpeed:
    """Frames a second; `form`: what they come and go as."""

    side: int
    form: str
    model: float
    flow: float


def frame_speeds() -> Iterator[FrameSpeed]:
    """The default model for grey frames, with a blind U-Net that cleans; PNG and raw pixels."""
    torch.set_num_threads(1)
    for side, count in ((28, 512), (256, 24)):
        frames = _frames(count, side)
        detector = train_frames(frames[: max(count // 8, 24)], ("grey",), OPTIONS).detector
        detector = detector.choosing([msgspec.structs.replace(choice, by="unet") for choice in detector.choices])
        model = count / _best(partial(detector.infer_frames, frames))
        for kind in (FrameKind.PNG, FrameKind.NPY):
            form = FrameFormat(kind, "uint8", 1, side, side)
            values = [encode_frame(frame, form) for frame in frames]
            flow = count / _best(partial(_through, detector, values))
            yield FrameSpeed(side, kind.value, model, flow)


def _frames(count: int, side: int) -> Float32:
    """Soft disks with noise on them, 0 to 255: files that compress as pictures do."""
    generator = np.random.default_rng(0)
    rows, columns = np.indices((side, side))
    middle = generator.uniform(0.3, 0.7, (count, 2, 1, 1)) * side
    distance = np.hypot(rows - middle[:, 0], columns - middle[:, 1])
    smooth = 200.0 / (1.0 + np.exp((distance - side / 4) / (side / 20)))
    noisy = smooth + generator.normal(20.0, 5.0, smooth.shape)
    return np.asarray(np.rint(noisy.clip(0, 255))[:, None], np.float32)


def _through(detector: ImageDetector, values: list[bytes]) -> None:
    settings = Settings(decode=DecodeSettings(records="images"), batch=BatchSettings(max_records=64))
    pipeline = Pipeline(settings, "stream-ae/quality")
    pipeline.use(detector)
    pipeline.assign({Partition("raw", 0): None})
    count = len(values)
    offsets = np.arange(count)
    pipeline.feed(
        RecordBatch(
            "raw", np.zeros(count, np.int32), offsets, START_MS + offsets, [b"cam"] * count, values, [()] * count
        ),
        0.0,
    )
    while (work := pipeline.take(0.0, True)) is not None:
        pipeline.complete(work, work.model.infer(work.windows))
    pipeline.close()


def _best(run: Callable[[], object]) -> float:
    """CPU seconds of the fastest of some runs: what others do on the machine only makes them slower."""
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return min(taken)

"""A retraining on a topic of frames: the same shot, on images."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jobs import adapt as adapting
from jobs.retrain import Outcome, Progress, retrain
from jobs.training_data import Asked
from stream_ae.flow.images.codec import encode_frame
from stream_ae.flow.images.frame import FrameFormat, FrameKind
from stream_ae.models.images import ImageDetector
from stream_ae.models.version import load
from stream_ae.records import Float32
from stream_ae.settings import DecodeSettings, Settings, TopicSettings
from stream_ae.testing import InMemorySignal, InMemoryStore
from tests.jobs.test_retrain import Retraining
from tests.models.images.conftest import disks


class Cameras(Retraining):
    """A pipeline of cameras in memory."""

    def __init__(self) -> None:
        super().__init__()
        training = self.settings.training.model_copy(update={"denoiser_steps": 5, "max_epochs": 2})
        retrain = self.settings.retrain.model_copy(update={"min_samples": 50})
        images = {"decode": DecodeSettings(records="images"), "training": training, "retrain": retrain}
        self.settings: Settings = self.settings.model_copy(update=images)

    def shoot(self, frames: Iterable[Float32], kind: FrameKind = FrameKind.PNG) -> None:
        for frame in frames:
            form = FrameFormat(kind, "uint8", *frame.shape)
            second = self.clock.wall_ms() // 1000
            self.broker.append("raw", encode_frame(frame, form), key=b"cam", timestamp_ms=second * 1000)
            self.clock.advance(1)


def test_a_topic_of_frames_gives_a_version_for_them(tmp_path: Path) -> None:
    cameras = Cameras()
    cameras.shoot(disks(80))
    cameras.broker.append("raw", b"no image", key=b"cam", timestamp_ms=cameras.clock.wall_ms())
    assert cameras.run() == Outcome.PROMOTED
    detector = load(cameras.store.fetch("1", tmp_path / "v"))
    assert isinstance(detector, ImageDetector)
    assert (detector.channels, detector.frame) == (("grey",), (1, 16, 20))
    assert detector.lineage["stream_ae.offsets"] == "0:0-81"
    assert any("(1 not readable" in sentence for sentence in cameras.said)


def test_a_challenger_meets_the_champion_on_the_same_frames() -> None:
    cameras = Cameras()
    cameras.shoot(disks(80))
    cameras.run()
    cameras.shoot(disks(40, seed=1))
    assert cameras.run() in (Outcome.PROMOTED, Outcome.NOT_PROMOTED)
    assert "the champion's" in cameras.store.versions()[-1].tags["stream_ae.verdict"]


def test_labelled_frames_count_and_a_version_for_frames_comes_out_again_with_the_same_weights() -> None:
    cameras = Cameras()
    cameras.broker.create_topic("feedback", partitions=1)
    cameras.settings = cameras.settings.model_copy(update={"topics": TopicSettings(feedback="feedback")})
    white = np.full((1, 16, 20), 255.0, np.float32)
    cameras.shoot([*disks(80), white, white])
    said = b'{"source":{"topic":"raw","partition":0,"offset":80,"end_offset":82},"label":"anomaly"}'
    cameras.broker.append("feedback", said, partition=0)
    cameras.run()
    assert "2 excluded by operators" in cameras.said[0]
    assert cameras.champion.tags["stream_ae.gate.labelled_anomalies_found"].startswith("passed: ")
    cameras.shoot(disks(20, seed=2))
    quiet = Progress(cameras.said.append, lambda done, total: None, lambda epoch: None)
    retrain(cameras.world, cameras.settings, quiet, asked=Asked(like="1"))
    assert "version 1 came out again with the same weights" in cameras.said[-1]


def test_what_most_frames_are_decides_and_others_are_left_out(tmp_path: Path) -> None:
    cameras = Cameras()
    for frame in disks(70):
        cameras.shoot([frame])
    cameras.shoot(disks(5, sides=(8, 8)))
    assert cameras.run() == Outcome.PROMOTED
    detector = load(cameras.store.fetch("1", tmp_path / "v"))
    assert detector.frame == (1, 16, 20)


def test_a_topic_without_a_frame_is_unusable_data_and_says_why() -> None:
    cameras = Cameras()
    for _ in range(60):
        cameras.broker.append("raw", b'{"values": [1]}', key=b"cam", timestamp_ms=cameras.clock.wall_ms())
    assert cameras.run() == Outcome.UNUSABLE_DATA
    assert "no readable frame" in cameras.said[-1]


def test_profiles_are_about_sensors_alone() -> None:
    cameras = Cameras()
    cameras.shoot(disks(80))
    cameras.run()
    models = adapting.Registry(cameras.store, cameras.signal)
    named = cameras.settings.profiles
    profiles = adapting.Registry(InMemoryStore(cameras.clock, named), InMemorySignal(cameras.redis, named))
    world = adapting.World(cameras.world.reader, models, profiles, cameras.clock)
    quiet = adapting.Progress(cameras.said.append, lambda done, total: None)
    assert adapting.adapt(world, cameras.settings, quiet) == adapting.Outcome.UNUSABLE_DATA
    assert "is for frames: profiles are of streams of sensors alone" in cameras.said[-1]

"""The denoising scene: an electrocardiogram with noise on it goes through Kafka and comes out cleaner."""

from dataclasses import dataclass, replace

import msgspec
import numpy as np

from stream_ae.cli.demo.screen import Screen
from stream_ae.cli.demo.world import World, pipeline_of_its_own
from stream_ae.configuration import load
from stream_ae.kafka.admin import TopicSpec, create_topics
from stream_ae.kafka.driver import open_reader
from stream_ae.localdev import sample_ecg
from stream_ae.localdev.replay import batches
from stream_ae.records import Float32, Float64, Int64
from stream_ae.settings import Settings
from stream_ae.tables import Series

STREAM = "patient-100"
TRAIN_ROWS = 80 * sample_ecg.RATE_HZ
SNR_DB = 6.0
STEP_TIMEOUT_S = 600.0
# A U-Net of seconds: `make quality` trains one of minutes.
OPTIONS = {
    **pipeline_of_its_own("demo-ecg", "ecg"),
    "STREAM_AE_TRAINING__DENOISER": "unet",
    "STREAM_AE_TRAINING__CLEAN": "true",
    "STREAM_AE_TRAINING__DENOISER_STEPS": "800",
    "STREAM_AE_TRAINING__WINDOW": "256",
    "STREAM_AE_TRAINING__LOOKAHEAD": "128",
    "STREAM_AE_TRAINING__MAX_EPOCHS": "1",
    "STREAM_AE_BATCH__IDLE_FLUSH_S": "1",
}


@dataclass(frozen=True, slots=True)
class Denoised:
    """Signal-to-noise ratio of what went in and of what came out, dB."""

    snr_in_db: float
    snr_out_db: float


class _Sample(msgspec.Struct):
    timestamp: int
    values: dict[str, float | None]


def denoise(world: World, screen: Screen) -> Denoised:
    """Train on clean seconds, serve, send noisy later ones, compare what comes out with the truth."""
    chosen = load(environment=world.environment | OPTIONS).settings
    create_topics(chosen.kafka, [TopicSpec(name, 1) for name in chosen.topics.names()])
    clean = sample_ecg.load()
    with screen.step("denoising: training a U-Net on 80 s of a clean electrocardiogram") as step:
        _train(world, clean[:TRAIN_ROWS])
        step.show("denoising: noisy seconds through Kafka")
        truth = clean[TRAIN_ROWS:]
        given = sample_ecg.noisy(truth, SNR_DB)
        times = sample_ecg.timestamps(len(truth), world.clock.wall_ms())
        noisy = Series(STREAM, sample_ecg.CHANNELS, times, given)
        world.send(chosen, batches([noisy], chosen.topics.raw))
        worker = world.spawn("worker-ecg", ["worker"], **OPTIONS, STREAM_AE_WORKER__NAME="worker-ecg")
        world.wait_until(lambda: not world.lag(chosen), "denoising", STEP_TIMEOUT_S, [worker])
        worker.stop()
        found = Denoised(*(sample_ecg.snr_db(truth, rows) for rows in (given, _cleaned(world, chosen, times))))
        step.done = (
            f"{len(truth):,} samples of an electrocardiogram: {found.snr_in_db:.1f} dB signal-to-noise ratio in, "
            f"{found.snr_out_db:.1f} dB out"
        )
    return replace(found, snr_in_db=round(found.snr_in_db, 1), snr_out_db=round(found.snr_out_db, 1))


def _train(world: World, clean: Float64) -> None:
    import pandas as pd

    file = world.folder / "ecg.csv"
    pd.DataFrame(clean.astype(np.float32), columns=list(sample_ecg.CHANNELS)).to_csv(file, index=False)
    training = world.spawn("train-ecg", ["train", str(file), "--promote"], **OPTIONS)
    world.wait_until(training.check_done, "training the denoiser", STEP_TIMEOUT_S)


def _cleaned(world: World, chosen: Settings, times: Int64) -> Float32:
    """(N, C) what came out, row by row of what went in; a row that did not come out is NaN."""
    rows = {moment: row for row, moment in enumerate(times.tolist())}
    found = np.full((len(times), len(sample_ecg.CHANNELS)), np.nan, np.float32)
    decoder = msgspec.json.Decoder(_Sample)
    reader = open_reader(chosen.kafka, world.clock)
    try:
        for batch in reader.read(reader.ranges(chosen.topics.cleaned)):
            for value in batch.values:
                sample = decoder.decode(value or b"")
                found[rows[sample.timestamp]] = [sample.values[name] for name in sample_ecg.CHANNELS]
    finally:
        reader.close()
    return found

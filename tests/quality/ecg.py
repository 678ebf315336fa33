"""How well an ECG is cleaned, in dB, beside the best textbook filter: `python -m tests.quality.ecg [SEEDS]`.

Record 100 of the MIT-BIH Arrhythmia Database, two leads; the reference is the record between 0.5 and 40 Hz. The model
learns on the first part, is judged on a later one, and hears nothing of the noise that it will meet. The filters are
tuned, noise by noise, on the very part that they are judged on.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from stream_ae import AutoencoderDetector
from stream_ae.records import Float64
from tests.quality import data
from tests.quality.classical import best_of

RATE_HZ = 360
BAND_HZ = (0.5, 40.0)
TRAIN = slice(0, 300_000)
TEST = slice(330_000, 340_800)
# Edges are left out: there the textbook's filters and the model alike have too little to look at.
MARGIN = 2 * RATE_HZ
OPTIONS = {
    "denoiser": "unet",
    "clean": True,
    "window": 512,
    "lookahead": 256,
    # The autoencoder beside it scores only.
    "max_epochs": 1,
    "threads": 1,
}
NOISES = {
    "gaussian 0 dB": 0.0,
    "gaussian 6 dB": 6.0,
    "gaussian 12 dB": 12.0,
    "drift 3 dB": 3.0,
    "spikes 1.7 dB": 1.7,
    "few spikes 1.7 dB": 1.7,
}
# So that the best filter reaches about what it does in QUALITY's table; of few and large spikes a median takes all.
SPIKES_SHARE, FEW_SPIKES_SHARE, DRIFT_HZ = 0.2, 0.02, (0.05, 1.1)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; all figures in dB, means over the leads."""

    seed: int
    noise: str
    snr_in: float
    snr_out: float
    best_classical: float
    best_filter: str


@dataclass(frozen=True, slots=True)
class Unseen:
    """What happens to a person that the model has not seen; dB, means over the leads."""

    person: str
    noise: str
    snr_in: float
    as_it_is: float
    chosen_anew: float
    by: str


def record_file() -> Path:
    """Where the record lies, or would lie."""
    return data.ROOT / "ecg" / "mitdb100_first20min.npz"


def reference(file: Path) -> Float64:
    """(N, 2) the record between 0.5 and 40 Hz, in mV."""
    with np.load(file) as stored:
        millivolts = stored["adu"] / float(stored["gain"])
    band = signal.butter(3, BAND_HZ, "bandpass", fs=RATE_HZ, output="sos")
    return np.asarray(signal.sosfiltfilt(band, millivolts, axis=0), np.float64)


def noise(name: str, clean: Float64, seed: int) -> Float64:
    """(N, C) noise of the kind and, in each channel, of exactly the power that its name says."""
    generator = np.random.default_rng(seed)
    if name.startswith("gaussian"):
        drawn = generator.standard_normal(clean.shape)
    elif name.startswith("drift"):
        slow = signal.butter(2, DRIFT_HZ, "bandpass", fs=RATE_HZ, output="sos")
        settled = 60 * RATE_HZ
        drawn = signal.sosfilt(slow, generator.standard_normal((settled + len(clean), clean.shape[1])), axis=0)[
            settled:
        ]
    else:
        hit = generator.random(clean.shape) < (FEW_SPIKES_SHARE if name.startswith("few") else SPIKES_SHARE)
        drawn = hit * generator.choice([-1.0, 1.0], clean.shape) * generator.uniform(0.5, 1.5, clean.shape)
    power = np.square(clean).mean(0) / 10.0 ** (NOISES[name] / 10.0)
    return np.asarray(drawn * np.sqrt(power / np.square(drawn).mean(0)), np.float64)


def snr_db(clean: Float64, estimate: NDArray[np.floating[Any]]) -> float:
    """Signal-to-noise ratio, mean over the channels, edges left out."""
    inner = slice(MARGIN, len(clean) - MARGIN)
    power = np.square(clean[inner]).mean(0)
    return float(np.mean(10.0 * np.log10(power / np.square(estimate[inner] - clean[inner]).mean(0))))


def best_classical(clean: Float64, noisy: Float64) -> tuple[float, str]:
    """The best SNR that any filter with any tuning reaches, and which one it was."""
    return best_of(noisy, RATE_HZ, lambda found: snr_db(clean, found))


def trained(clean: Float64, seed: int = 0, **options: object) -> AutoencoderDetector:
    """The model that is measured."""
    return AutoencoderDetector(seed=seed).set_params(**(OPTIONS | options)).fit(clean.astype(np.float32))


def rows(seeds: range, file: Path | None = None) -> Iterator[Row]:
    """A row for each seed and noise, as they are found."""
    clean = reference(file or record_file())
    test = clean[TEST]
    noisy = {name: test + noise(name, test, seed=0) for name in NOISES}
    best = {name: best_classical(test, spoilt) for name, spoilt in noisy.items()}
    for seed in seeds:
        detector = trained(clean[TRAIN], seed)
        for name in NOISES:
            spoilt = test + noise(name, test, seed)
            yield Row(seed, name, snr_db(test, spoilt), snr_db(test, detector.denoise(spoilt)), *best[name])


def people(clean: Float64) -> dict[str, Float64]:
    """Persons that the model has not seen, made of the one that it has: other polarity, leads, pace, size and shape."""
    bell = np.hanning(41) / np.hanning(41).sum()
    steep = np.gradient(clean, axis=0)
    return {
        "flipped": -clean,
        "leads swapped": clean[:, ::-1].copy(),
        "slower": np.asarray(signal.resample(clean, len(clean) * 3 // 2)[: len(clean)]),
        "faster": np.asarray(signal.resample(clean, len(clean) * 3 // 5)),
        "larger": 2.0 * clean,
        "smaller": 0.4 * clean,
        "wide QRS": np.stack([np.convolve(lead, bell, "same") for lead in clean.T], axis=1),
        "other shape": steep * clean.std(0) / steep.std(0),
    }


def unseen_rows(detector: AutoencoderDetector, clean: Float64, seed: int = 0) -> Iterator[Unseen]:
    """What the model does to people that it has not seen, as it is and with its denoiser chosen anew on what comes in.

    `clean` is the test part. The detector is left as it was.
    """
    before = detector.detector_
    for person, truth in people(clean).items():
        for name in NOISES:
            spoilt = truth + noise(name, truth, seed)
            detector.detector_ = before
            as_it_is = snr_db(truth, detector.denoise(spoilt))
            detector.choose_denoiser(spoilt)
            by = ", ".join(choice.by for choice in detector.detector_.choices)
            yield Unseen(person, name, snr_db(truth, spoilt), as_it_is, snr_db(truth, detector.denoise(spoilt)), by)
    detector.detector_ = before


def table(found: list[Row]) -> str:
    """Markdown: a line for each noise, means over the seeds, the spread between them."""
    lines = ["| noise | in | best classical | stream_ae | spread |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(row.noise for row in found):
        of = [row for row in found if row.noise == name]
        out = np.array([row.snr_out for row in of])
        classical = f"{of[0].best_classical:.1f} ({of[0].best_filter})"
        snr_in = np.mean([row.snr_in for row in of])
        lines.append(f"| {name} | {snr_in:.1f} | {classical} | {out.mean():.1f} | {np.ptp(out):.1f} |")
    return "\n".join(lines)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found = []
    for row in rows(range(count)):
        print(row, flush=True)
        found.append(row)
    print(table(found))
    clean = reference(record_file())
    for unseen in unseen_rows(trained(clean[TRAIN]), clean[TEST]):
        print(unseen, flush=True)


if __name__ == "__main__":
    main()

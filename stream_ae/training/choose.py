"""Do no harm: every denoiser is compared with leaving the value alone, channel by channel, and the better is served.

Where nothing clean is there to compare with, the target is hidden from the networks. What one then says, f, cannot know
the value's own noise, so its squared distance from the noisy value is E|f - s|^2 + sigma^2 (Batson & Royer 2019,
proposition 1), while leaving the value alone costs sigma^2: the network wins if its masked loss is below 2 sigma^2. For
sigma^2 there is `training.noise_power`; without noise nothing can win. All figures are in the network's units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from stream_ae.models.config import ChannelChoice, CleanedBy
from stream_ae.models.detector import Detector
from stream_ae.models.noise import Drift, Gaussian, Spikes, Transform
from stream_ae.records import Bool, Float32, Float64
from stream_ae.training.dataset import HeldOut, WindowSet
from stream_ae.training.noise_power import noise_power

BATCH = 1024
MOST_WINDOWS = 10_000
LEAST_VALUES = 50
# Noise is measured on the held-out rows, or a few older ones with them where they are fewer than this.
LEAST_ROWS = 1000
HIDDEN_SHARE = 0.25
# A network must take away this share of the noise to be served at all: less is within what was measured wrong.
LEAST_GAIN = 0.1
LEAST_GAIN_DB = 0.5
NOISES: dict[str, Transform] = {
    **{f"gain_gaussian_{db}_db": Gaussian(db, db) for db in (0, 6, 12, 20)},
    "gain_drift_db": Drift(),
    "gain_spikes_db": Spikes(),
}
# MLflow takes 5000 characters.
LONGEST_TAG = 4000
NETWORKS: tuple[CleanedBy, CleanedBy] = ("autoencoder", "unet")


def choose(
    detector: Detector, held_out: HeldOut, seed: int = 0, most_windows: int = MOST_WINDOWS
) -> tuple[ChannelChoice, ...]:
    """The choice for each channel by rows that the networks were not fitted on, noisy as they are.

    Only white noise counts: a drift that a network takes away looks like its error, and the channel is rather left
    alone.
    """
    losses = _masked_losses(detector, _windows(detector, held_out).sample(most_windows), seed)
    rows = [
        x[max(min(begin, len(x) - LEAST_ROWS), 0) :] for x, begin in zip(held_out.streams, held_out.begin, strict=True)
    ]
    noise = noise_power(rows) / np.square(_scale(detector))
    return tuple(by_masked_loss(*one) for one in zip(noise.tolist(), losses.of_channels(), strict=True))


def choose_by_clean(detector: Detector, held_out: HeldOut, seed: int = 0) -> tuple[ChannelChoice, ...]:
    """The choice for each channel by clean rows that the networks were not fitted on, with noise added to them."""
    windows = _windows(detector, held_out)
    losses = _masked_losses(detector, windows, seed)
    few = windows.sample(MOST_WINDOWS // len(NOISES))
    gains = [_gains(detector, few, noise, seed) for noise in NOISES.values()]
    return tuple(by_gains(np.stack(gains)[..., c], loss, tuple(NOISES)) for c, loss in enumerate(losses.of_channels()))


def chosen_for(detector: Detector, streams: Sequence[Float32], seed: int = 0) -> Detector:
    """The detector with its choices made anew by recent rows (N_i, C) of streams that training did not see.

    Networks do harm to a source that is not like the ones they learnt from (another person's ECG, 12 dB in: 6.7 out).
    """
    recent = HeldOut(streams, [0] * len(streams))
    return detector.choosing(choose(detector, recent, seed))


def left_alone(channels: int, reason: str) -> tuple[ChannelChoice, ...]:
    """No channel is cleaned; the autoencoder fills in what is missing."""
    return (ChannelChoice(by="identity", fill="autoencoder", reason=reason, figures={}),) * channels


def told(channels: Sequence[str], choices: Sequence[ChannelChoice]) -> str:
    """All choices in one line, for the version's tags; channels of one choice are named together."""
    alike: dict[str, list[str]] = {}
    for name, choice in zip(channels, choices, strict=True):
        alike.setdefault(f"{choice.by}, {choice.reason}", []).append(name)
    return "; ".join(f"{', '.join(names)}: {says}" for says, names in alike.items())[:LONGEST_TAG]


@dataclass(frozen=True, slots=True)
class Loss:
    """One channel's mean squared errors on hidden targets, without its own noise taken off, and of how many values."""

    of: dict[CleanedBy, float]
    values: int

    @property
    def filler(self) -> CleanedBy:
        return min(self.of, key=lambda who: self.of[who])

    def choice(self, by: CleanedBy, reason: str, figures: dict[str, float]) -> ChannelChoice:
        masked = {f"masked_loss_{who}": loss for who, loss in self.of.items()} if self.values else {}
        rounded = {name: float(f"{value:.4g}") for name, value in (figures | masked).items() if np.isfinite(value)}
        fill: Literal["autoencoder", "unet"] = "unet" if self.filler == "unet" else "autoencoder"
        return ChannelChoice(by=by, fill=fill, reason=reason, figures=rounded | {"values": float(self.values)})


@dataclass(frozen=True, slots=True)
class Losses:
    """Sums of squared errors on hidden targets (networks, C) and how many there were (C,)."""

    sums: Float64
    count: Float64
    networks: Sequence[CleanedBy]

    def of_channels(self) -> list[Loss]:
        means = self.sums / np.maximum(self.count, 1)
        return [
            Loss(dict(zip(self.networks, means[:, channel].tolist(), strict=True)), int(count))
            for channel, count in enumerate(self.count)
        ]


def by_masked_loss(noise: float, loss: Loss) -> ChannelChoice:
    """By the loss on hidden values against the power of their noise, both in the network's units."""
    best, figures = loss.filler, {"noise_power": noise}
    if loss.values < LEAST_VALUES:
        return loss.choice("identity", f"only {loss.values} values to compare on", figures)
    if noise <= 0.0:
        return loss.choice("identity", "no noise to take away", figures)
    error = loss.of[best] - noise
    figures["share_of_noise_left"] = error / noise
    says = f"masked loss {loss.of[best]:.3g} of {best} against noise {noise:.3g}"
    if error <= (1.0 - LEAST_GAIN) * noise:
        return loss.choice(best, f"{says}: below twice the noise, it wins", figures)
    return loss.choice("identity", f"{says}: not below twice the noise, leaving it alone wins", figures)


def by_gains(gains: Float64, loss: Loss, noises: Sequence[str]) -> ChannelChoice:
    """By gains in dB (noises, networks) on values that are clean but for the noises added, so named."""
    networks = list(loss.of)
    means = gains[:, : len(networks)].mean(0)
    best = networks[int(means.argmax())]
    figures = {name: float(gain) for name, gain in zip(noises, gains[:, networks.index(best)], strict=True)}
    says = f"{best} gains {means.max():.1f} dB on average over added noises"
    if loss.values < LEAST_VALUES or not means.max() >= LEAST_GAIN_DB:
        return loss.choice("identity", f"{says}: too little, leaving it alone wins", figures)
    return loss.choice(best, says, figures)


def _windows(detector: Detector, held_out: HeldOut) -> WindowSet:
    return held_out.windows(detector.window, detector.lookahead).sample(MOST_WINDOWS)


def _scale(detector: Detector) -> Float64:
    scale: Float64 = detector.network.normaliser.scale[:, 0].double().cpu().numpy()
    return scale


def _networks(detector: Detector) -> Sequence[CleanedBy]:
    there = detector.denoiser is not None and detector.denoiser.network is not None
    return NETWORKS if there else NETWORKS[:1]


def _masked_losses(detector: Detector, windows: WindowSet, seed: int) -> Losses:
    generator, target = np.random.default_rng(seed), detector.window - 1 - detector.lookahead
    networks, scale = _networks(detector), _scale(detector)
    sums, count = np.zeros((len(networks), len(scale))), np.zeros(len(scale))
    share = max(HIDDEN_SHARE, 1.0 / len(scale))
    for batch in windows.batches(BATCH):
        truth = batch[..., target].copy()
        hidden = generator.random(truth.shape) < share
        batch[..., target][hidden] = np.nan
        known = hidden & ~np.isnan(truth)
        count += known.sum(0)
        for row, estimate in enumerate(detector.estimates(batch)[: len(networks)]):
            sums[row] += _squares(estimate, truth, known, scale).sum(0)
    return Losses(sums, count, networks)


def _gains(detector: Detector, windows: WindowSet, noise: Transform, seed: int) -> Float64:
    """(networks, C) dB by which the networks' errors are below the noise that was added."""
    generator, target = torch.Generator().manual_seed(seed), detector.window - 1 - detector.lookahead
    scale = _scale(detector)
    before, after = np.zeros(len(scale)), np.zeros((2, len(scale)))
    for batch in windows.batches(BATCH):
        unit = scale[:, None].astype(np.float32)
        spoilt = noise(torch.from_numpy(batch / unit), generator).numpy() * unit
        truth = batch[..., target]
        known = ~np.isnan(truth)
        before += _squares(spoilt[..., target], truth, known, scale).sum(0)
        for row, estimate in enumerate(detector.estimates(spoilt)):
            after[row] += _squares(estimate, truth, known, scale).sum(0)
    tiny = np.finfo(np.float64).tiny
    return 10.0 * np.log10(np.maximum(before, tiny) / np.maximum(after, tiny))


def _squares(estimate: Float32, truth: Float32, known: Bool, scale: Float64) -> Float64:
    """(B, C) squared errors in the network's units, 0 where nothing is known."""
    off = (estimate.astype(np.float64) - np.where(known, truth, 0.0)) / scale
    return np.where(known, np.square(off), 0.0)

"""Windows to a U-Net that denoises, and to the choice of who cleans which channel.

With clean data it learns to take noise off that was added (one network for all kinds and sizes, Zhang et al. 2017).
Without, it learns to tell hidden values from their neighbours: what it then cannot know is their noise (Krull et al.
2019, Batson & Royer 2019).
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from stream_ae.models.denoiser import Denoiser, SideNetwork, absolute, unmeasured
from stream_ae.models.detector import Detector
from stream_ae.models.losses import huber, squared_error
from stream_ae.models.missing import filled
from stream_ae.models.noise import ANY_NOISE
from stream_ae.models.normaliser import CLIP, Normaliser
from stream_ae.models.unet import UNet, unet_config
from stream_ae.settings import TrainingSettings
from stream_ae.training.checkpoint import UNSUPPORTED, Support
from stream_ae.training.choose import choose, choose_by_clean, left_alone
from stream_ae.training.dataset import Split, WindowSet
from stream_ae.training.descend import UNET, Length, descend
from stream_ae.training.fit import reproducible
from stream_ae.training.ranks import Batch, Ranks

BATCH = 32
# Share of the window, around the target, whose errors teach: all of it costs three times as much a step.
TAUGHT_SHARE = 0.25
HIDDEN_SHARE = 0.15
# Squares would listen to the noisiest windows alone; so do those with little noise count (ECG, 12 dB in: +1 dB).
KNEE = 0.05


def with_denoiser(
    detector: Detector, parts: Split, options: TrainingSettings, support: Support = UNSUPPORTED
) -> Detector:
    """The detector with the denoiser that `options.denoiser` asks for, chosen for each channel on held-out rows."""
    count = len(detector.channels)
    if options.denoiser == "none":
        return detector.choosing(left_alone(count, "asked for: training.denoiser is none"))
    if options.denoiser == "autoencoder":
        return detector.choosing(unmeasured(count, "asked for: training.denoiser is autoencoder"))
    ready = detector
    if options.denoiser == "unet":
        side = fitted_unet(detector.network.normaliser, parts.fit, options, support)
        ready = detector.beside(Denoiser.of(unmeasured(count, ""), side, detector.network.device))
    by = choose_by_clean if options.clean else choose
    return ready.choosing(by(ready, parts.held_out, options.seed))


def fitted_unet(
    normaliser: Normaliser, windows: WindowSet, options: TrainingSettings, support: Support = UNSUPPORTED
) -> SideNetwork:
    """A U-Net trained on the windows; the same data, options and number of threads give the same one on a CPU, and with
    several ranks up to rounding."""
    config = unet_config(*windows.views[0].shape[:0:-1])
    with reproducible(options.seed, options.threads) as generator:
        unet = UNet(config)
        taught = _Taught(unet, windows, normaliser, options, generator)
        descend(taught, Length(UNET, options.denoiser_steps), options, support)
    return SideNetwork(config, unet.requires_grad_(False).eval(), blind=not options.clean)


@dataclass(frozen=True, slots=True)
class _Taught:
    """A U-Net and what it learns from."""

    network: UNet
    windows: WindowSet
    normaliser: Normaliser
    options: TrainingSettings
    generator: Generator

    def loss(self, ranks: Ranks) -> Tensor:
        """Of the next batch."""
        chosen = torch.randint(0, len(self.windows), (BATCH,), generator=self.generator).numpy()
        whole = torch.from_numpy(self.windows.windows(chosen).transpose(0, 2, 1)).transpose(1, 2)
        batch = Batch.of(BATCH, ranks)
        return batch.mean_part(self._errors(whole, batch))

    def _errors(self, whole: Tensor, batch: Batch) -> Tensor:
        """Of the rows of this rank; what is hidden and spoilt is drawn for all."""
        observed = ~torch.isnan(whole)
        x = absolute(whole, observed, self.normaliser)
        begin, end = _taught(self.options)
        if self.options.clean:
            spoilt = ANY_NOISE(torch.where(observed, x, torch.nan), self.generator)
            seen = ~torch.isnan(spoilt)
            shown = filled(spoilt, seen, torch.zeros(())).clamp(-CLIP, CLIP)
            asked = observed[..., begin:end]
        else:
            hidden = torch.rand((len(x), 1, x.shape[-1]), generator=self.generator) < HIDDEN_SHARE
            seen = observed & ~hidden
            shown = filled(x, seen, torch.zeros(()))
            asked = (observed & hidden)[..., begin:end]
        mine = batch.rows.cut
        x_hat, x = self.network(mine(shown), mine(seen), begin, end), mine(x[..., begin:end])
        return huber(x_hat, x, mine(asked), KNEE) if self.options.clean else squared_error(x_hat, x, mine(asked))


def _taught(options: TrainingSettings) -> tuple[int, int]:
    """The samples around the target whose errors teach, [begin, end)."""
    count = max(round(options.window * TAUGHT_SHARE), 1)
    target = options.window - 1 - options.lookahead
    begin = min(max(target - count // 2, 0), options.window - count)
    return begin, begin + count

"""Windows to a U-Net that denoises, and to the choice of who cleans which channel.

With clean data it learns to take noise off that was added (one network for all kinds and sizes, Zhang et al. 2017).
Without, it learns to tell hidden values from their neighbours: what it then cannot know is their noise (Krull et al.
2019, Batson & Royer 2019).
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from stream_ae.errors import ModelError
from stream_ae.models.denoiser import Denoiser, SideNetwork, absolute, unmeasured
from stream_ae.models.detector import Detector
from stream_ae.models.losses import huber, squared_error
from stream_ae.models.missing import filled
from stream_ae.models.noise import ANY_NOISE
from stream_ae.models.normaliser import CLIP, Normaliser
from stream_ae.models.unet import UNet, unet_config
from stream_ae.settings import TrainingSettings
from stream_ae.training.choose import choose, choose_by_clean, left_alone
from stream_ae.training.dataset import Split, WindowSet
from stream_ae.training.fit import reproducible

BATCH = 32
# Share of the window, around the target, whose errors teach: all of it costs three times as much a step.
TAUGHT_SHARE = 0.25
HIDDEN_SHARE = 0.15
# Squares would listen to the noisiest windows alone; so do those with little noise count (ECG, 12 dB in: +1 dB).
KNEE = 0.05
LEARNING_RATE, WARM_UP, LARGEST_GRADIENT = 4e-3, 0.05, 1.0


def with_denoiser(detector: Detector, parts: Split, options: TrainingSettings) -> Detector:
    """The detector with the denoiser that `options.denoiser` asks for, chosen for each channel on held-out rows."""
    count = len(detector.channels)
    if options.denoiser == "none":
        return detector.choosing(left_alone(count, "asked for: training.denoiser is none"))
    if options.denoiser == "autoencoder":
        return detector.choosing(unmeasured(count, "asked for: training.denoiser is autoencoder"))
    ready = detector
    if options.denoiser == "unet":
        side = fitted_unet(detector.network.normaliser, parts.fit, options)
        ready = detector.beside(Denoiser.of(unmeasured(count, ""), side, detector.network.device))
    by = choose_by_clean if options.clean else choose
    return ready.choosing(by(ready, parts.held_out, options.seed))


def fitted_unet(normaliser: Normaliser, windows: WindowSet, options: TrainingSettings) -> SideNetwork:
    """A U-Net trained on the windows; the same data, options and number of threads give the same one on a CPU."""
    config = unet_config(*windows.views[0].shape[:0:-1])
    with reproducible(options.seed, options.threads) as generator:
        unet = UNet(config)

        def loss() -> Tensor:
            chosen = torch.randint(0, len(windows), (BATCH,), generator=generator).numpy()
            rows = torch.from_numpy(windows.windows(chosen).transpose(0, 2, 1)).transpose(1, 2)
            return _loss(unet, rows, normaliser, options, generator)

        descend(unet, loss, options.denoiser_steps)
    return SideNetwork(config, unet.requires_grad_(False).eval(), blind=not options.clean)


def descend(unet: nn.Module, loss: Callable[[], Tensor], steps: int) -> None:
    """Train a U-Net on so many batches, `loss` drawing the next one. Raises ModelError when that diverges."""
    optimiser = torch.optim.AdamW(unet.parameters(), LEARNING_RATE, weight_decay=1e-4)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: _pace(done / steps))
    for _ in range(steps):
        found = loss()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(found)
        torch.nn.utils.clip_grad_norm_(unet.parameters(), LARGEST_GRADIENT)
        optimiser.step()
        rate.step()
    if not all(bool(torch.isfinite(parameter).all()) for parameter in unet.parameters()):
        raise ModelError("the U-Net's training diverged: look for absurd values in the data")


def _pace(done: float) -> float:
    """Share of the learning rate: up for a while, then down along a cosine."""
    return min(1.0, 0.05 + done / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * done))


def _loss(unet: UNet, rows: Tensor, normaliser: Normaliser, options: TrainingSettings, generator: Generator) -> Tensor:
    observed = ~torch.isnan(rows)
    x = absolute(rows, observed, normaliser)
    begin, end = _taught(options)
    if options.clean:
        spoilt = ANY_NOISE(torch.where(observed, x, torch.nan), generator)
        seen = ~torch.isnan(spoilt)
        shown = filled(spoilt, seen, torch.zeros(())).clamp(-CLIP, CLIP)
        return huber(unet(shown, seen, begin, end), x[..., begin:end], observed[..., begin:end], KNEE).mean()
    hidden = torch.rand((len(x), 1, x.shape[-1]), generator=generator) < HIDDEN_SHARE
    seen = observed & ~hidden
    shown = filled(x, seen, torch.zeros(()))
    asked = (observed & hidden)[..., begin:end]
    return squared_error(unet(shown, seen, begin, end), x[..., begin:end], asked).mean()


def _taught(options: TrainingSettings) -> tuple[int, int]:
    """The samples around the target whose errors teach, [begin, end)."""
    count = max(round(options.window * TAUGHT_SHARE), 1)
    target = options.window - 1 - options.lookahead
    begin = min(max(target - count // 2, 0), options.window - count)
    return begin, begin + count

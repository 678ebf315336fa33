"""One trained model: windows in, denoised samples, scores and explanations out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from stream_ae.errors import ModelError
from stream_ae.marginals import DriftBins, latents_of
from stream_ae.models.autoencoder import Autoencoder
from stream_ae.models.blocks import finite
from stream_ae.models.config import ArchitectureConfig, ChannelChoice
from stream_ae.models.denoiser import Denoiser
from stream_ae.models.normaliser import Normalised, Normaliser
from stream_ae.models.scoring import Scoring, Views, tempered
from stream_ae.records import Float32, Inference, ModelIdentity

UNREGISTERED = ModelIdentity(name="unregistered", version="0", digest="")


@dataclass(frozen=True, slots=True)
class Signature:
    """What goes in: C channels, their units ("" = unknown), T samples, the target `lookahead` before the end."""

    channels: tuple[str, ...]
    units: tuple[str, ...]
    window: int
    lookahead: int


@dataclass(frozen=True, slots=True)
class Network:
    """The network with the arguments that build it again, and the units it thinks in."""

    config: ArchitectureConfig
    autoencoder: Autoencoder
    normaliser: Normaliser

    @property
    def device(self) -> torch.device:
        return self.normaliser.scale.device

    def to(self, device: torch.device) -> "Network":
        return replace(self, autoencoder=self.autoencoder.to(device), normaliser=self.normaliser.to(device))


@dataclass(frozen=True, slots=True)
class Detector:
    """Network, normaliser, score, threshold, denoiser: all that a version is. Satisfies `flow.model.ServedModel`.

    Without a denoiser the autoencoder cleans every channel, as in versions of before there was a choice.
    Safe to use from several threads at once: nothing in it changes.
    """

    signature: Signature
    network: Network
    scoring: Scoring
    lineage: Mapping[str, str] = field(default_factory=dict)
    identity: ModelIdentity = UNREGISTERED
    denoiser: Denoiser | None = None
    gives_codes: bool = False
    drift_bins: DriftBins | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        return self.signature.channels

    @property
    def frame(self) -> None:
        """Samples are values of sensors, not frames."""
        return None

    @property
    def units(self) -> tuple[str, ...]:
        return self.signature.units

    @property
    def window(self) -> int:
        return self.signature.window

    @property
    def lookahead(self) -> int:
        return self.signature.lookahead

    @property
    def threshold(self) -> float:
        """A score above it is an anomaly; it is -log10 of the false-alarm rate that was asked for."""
        return self.scoring.threshold

    @property
    def start_threshold(self) -> float:
        """The same where the window reaches back beyond the stream's first sample; not below `threshold`."""
        return self.scoring.start_threshold

    @property
    def _target(self) -> int:
        return self.window - 1 - self.lookahead

    @property
    def choices(self) -> tuple[ChannelChoice, ...]:
        """Who cleans each channel, and why; empty in versions of before there was a choice."""
        return self.denoiser.choices if self.denoiser is not None else ()

    @property
    def code_size(self) -> int:
        """Columns of what `encode` gives: the latent code and one base per channel."""
        return self.network.config.latent + len(self.channels)

    @property
    def code_shape(self) -> tuple[int]:
        """Shape of one window's code."""
        return (self.code_size,)

    def with_identity(self, identity: ModelIdentity) -> "Detector":
        """The same model under its registered name; shares all tensors."""
        return replace(self, identity=identity)

    def with_codes(self, wanted: bool = True) -> "Detector":
        """The same model; `infer` gives the codes that it went through as well, if they are wanted."""
        return replace(self, gives_codes=wanted)

    def remembering(self, bins: DriftBins) -> "Detector":
        """The same model, knowing how its normal samples were spread; shares all tensors."""
        return replace(self, drift_bins=bins)

    def beside(self, denoiser: Denoiser) -> "Detector":
        """The same model with this denoiser, on the same device; shares all tensors."""
        return replace(self, denoiser=denoiser)

    def choosing(self, choices: Sequence[ChannelChoice]) -> "Detector":
        """The same model, cleaning its channels so; shares all tensors. `training.choose` makes choices."""
        denoiser = self.denoiser or Denoiser.of(choices, device=self.network.device)
        return replace(self, denoiser=denoiser.choosing(choices))

    def to(self, device: str | torch.device) -> "Detector":
        """The model on `device`. The network's weights move, so do not use the old one any longer."""
        where = torch.device(device)
        denoiser = self.denoiser.to(where) if self.denoiser is not None else None
        return replace(self, network=self.network.to(where), scoring=self.scoring.to(where), denoiser=denoiser)

    def infer(self, windows: Float32) -> Inference:
        """Answer windows (B, C, T), see `ServedModel.infer`. Fastest if they lie in memory as (B, T, C)."""
        with torch.inference_mode():
            x = self.tensor(windows)
            expected, views, broken, code = self._reconstruct(x)
            x_hat = self._cleaned(x, expected)
        score, share = self.scoring.score(views)
        if broken is not None:
            score[broken], share[broken] = np.inf, 1.0 / len(self.channels)
        return Inference(x_hat, score, np.power(10.0, -score), share, code=code, expected=expected)

    def estimates(self, windows: Float32) -> tuple[Float32, Float32]:
        """What the autoencoder and the U-Net (without one: the same again) put for the targets of windows (B, C, T):
        (B, C) each, whatever was chosen, in the input's units; for `training.choose`."""
        with torch.inference_mode():
            x = self.tensor(windows)
            autoencoder = self._reconstruct(x)[0]
            side = self.denoiser.network if self.denoiser is not None else None
            if side is None:
                return autoencoder, autoencoder
            unet: Float32 = side.estimate(x, self.network.normaliser, self._target).cpu().numpy()
        return autoencoder, np.where(np.isfinite(unet), unet, autoencoder)

    def views(self, windows: Float32) -> Views:
        """The raw scores before calibration, for `training.calibrate`."""
        with torch.inference_mode():
            return self._reconstruct(self.tensor(windows))[1]

    def encode(self, windows: Float32) -> Float32:
        """Windows (B, C, T) to codes (B, Z + C): the latent code, then the window's base in the network's units."""
        with torch.inference_mode():
            seen = self.network.normaliser.apply(self.tensor(windows))
            return self._code(self.network.autoencoder.encode(seen.x).mode(), seen)

    def latents(self, windows: Float32) -> Float32:
        """See `ServedModel.latents`: of the latent code alone, for bases are inputs."""
        return latents_of(self.encode(windows)[:, : self.network.config.latent])

    def decode(self, codes: Float32) -> Float32:
        """Codes as `encode` gives them to windows (B, C, T) in the input's units, denoised."""
        normaliser, latent = self.network.normaliser, self.network.config.latent
        if codes.ndim != 2 or codes.shape[1] != self.code_size:
            raise ModelError(f"codes have shape {codes.shape}; this model's are (N, {self.code_size})")
        with torch.inference_mode():
            code = torch.from_numpy(np.require(codes, np.float32, ["C", "W"])).to(self.network.device)
            base = code[:, latent:, None] * normaliser.scale + normaliser.centre
            windows: Float32 = normaliser.restore(self.network.autoencoder.decode(code[:, :latent]), base).cpu().numpy()
        return windows

    @property
    def generative(self) -> bool:
        """Whether `sample` has a prior to sample from."""
        return self.network.config.bottleneck == "variational"

    def sample(self, count: int, seed: int = 0) -> Float32:
        """Windows (count, C, T) in the input's units, decoded from codes of the prior N(0, I).

        Raises ModelError if the model is not variational: its codes have no prior."""
        if not self.generative:
            raise ModelError(
                "this model is not variational, so its codes have no prior to sample from: train one with "
                "training.model variational or conv1d-variational"
            )
        normaliser = self.network.normaliser
        z = torch.randn((count, self.network.config.latent), generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            x = self.network.autoencoder.decode(z.to(self.network.device))
            windows: Float32 = normaliser.restore(x, normaliser.base_of(x)).cpu().numpy()
        return windows

    def tensor(self, windows: Float32) -> Tensor:
        """The windows on the model's device, (B, C, T), in memory as (B, T, C). Raises ModelError on another shape."""
        expected = (len(self.channels), self.window)
        if windows.ndim != 3 or windows.shape[1:] != expected:
            raise ModelError(f"windows have shape {windows.shape}; model {self.identity.name} takes (B, {expected})")
        rows = np.require(windows.transpose(0, 2, 1), np.float32, ["C", "W"])
        return torch.from_numpy(rows).to(self.network.device).transpose(1, 2)

    def _code(self, z: Tensor, seen: Normalised) -> Float32:
        normaliser = self.network.normaliser
        base = (seen.base - normaliser.centre) / normaliser.scale
        code: Float32 = torch.cat([z, base[..., 0]], 1).cpu().numpy()
        return code

    def _reconstruct(
        self, windows: Tensor
    ) -> tuple[Float32, Views, np.ndarray[tuple[int], np.dtype[np.bool_]] | None, Float32 | None]:
        """What the autoencoder expects (B, C), the error's views, which windows it failed on (None: on none), and the
        codes if they are wanted."""
        end = self.window - self.lookahead
        first = end - self.scoring.levels.span
        network, normaliser = self.network.autoencoder, self.network.normaliser
        seen = normaliser.apply(windows)
        z = network.encode(seen.x).mode()
        recent = network.decode(z, first, end)
        broken = None
        if not finite(recent):
            recent, broken = _mended(recent, seen.x[..., first:end])
        error, observed = self._error(windows[..., first:end], recent, seen, slice(first, end))
        views = self.scoring.levels.views(error, observed)
        if self.scoring.linear is not None:
            past = seen.observed[..., :end] if seen.observed is not None else None
            views = replace(views, linear=self.scoring.linear.seen(windows[..., :end], past))
        target = recent[..., -1:]
        x_hat: Float32 = normaliser.restore(target, seen.base)[..., 0].cpu().numpy()
        return x_hat, views, broken, self._code(z, seen) if self.gives_codes else None

    def _cleaned(self, windows: Tensor, expected: Float32) -> Float32:
        """(B, C) the targets as the denoiser chose to clean them."""
        if self.denoiser is None:
            return expected
        x = windows[..., self._target]
        observed = ~torch.isnan(x)
        side = self.denoiser.asked(observed)
        unet = side.estimate(windows, self.network.normaliser, self._target) if side is not None else None
        by_autoencoder = torch.from_numpy(expected).to(x.device)
        x_hat: Float32 = self.denoiser.cleaned(x, observed, by_autoencoder, unet).cpu().numpy()
        return x_hat

    def _error(self, x: Tensor, x_hat: Tensor, seen: Normalised, part: slice) -> tuple[Tensor, Tensor | None]:
        error = tempered((x - seen.base).div_(self.network.normaliser.scale).sub_(x_hat).abs_())
        if seen.observed is None:
            return error, None
        observed = seen.observed[..., part]
        return torch.where(observed, error, 0.0), observed


def _mended(recent: Tensor, x: Tensor) -> tuple[Tensor, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Windows that came out NaN or infinite get their (normalised) input back, and are named."""
    broken = ~torch.isfinite(recent).flatten(1).all(1)
    if bool(broken.all()):
        raise ModelError("the network answered no window of the batch with finite numbers: go back to another version")
    return torch.where(broken[:, None, None], x, recent), broken.cpu().numpy()

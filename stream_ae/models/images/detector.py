"""One trained image model: frames in, denoised frames, scores and maps of where they are wrong out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from stream_ae.errors import ModelError
from stream_ae.marginals import DriftBins, latents_of
from stream_ae.models.config import ChannelChoice
from stream_ae.models.images.config import AutoencoderConfig, PriorKind
from stream_ae.models.images.denoiser import ImageDenoiser
from stream_ae.models.images.diffusion import LatentPrior
from stream_ae.models.images.linear import LinearPatch
from stream_ae.models.images.networks import ImageAutoencoder, code_shape
from stream_ae.models.images.scoring import SOFT, Errors, ImageScoring, blurred, shares
from stream_ae.models.images.tiles import PIXELS_AT_ONCE, Tiling
from stream_ae.models.normaliser import CLIP, Normaliser
from stream_ae.models.rows import Rows
from stream_ae.records import Float32, Float64, Inference, ModelIdentity

UNREGISTERED = ModelIdentity(name="unregistered", version="0", digest="")


@dataclass(frozen=True, slots=True)
class ImageNetwork:
    """What reconstructs: the network, the linear components beside it, how frames are cut, and the units.

    usual: (C, H, W) mean of normal frames in the network's units; stands for pixels that are missing too.
    """

    config: AutoencoderConfig
    autoencoder: ImageAutoencoder
    linear: LinearPatch
    tiling: Tiling
    normaliser: Normaliser
    usual: Tensor

    @property
    def device(self) -> torch.device:
        return self.usual.device

    def reconstructed(self, tiles: Tensor, observed: Tensor | None = None) -> Tensor:
        """Tiles (n, C, h, w) without what is usual there, through their most likely codes."""
        return self.autoencoder.decode(self.autoencoder.encode(tiles).mode())

    def to(self, device: torch.device) -> "ImageNetwork":
        return replace(
            self,
            autoencoder=self.autoencoder.to(device),
            linear=self.linear.to(device),
            normaliser=self.normaliser.to(device),
            usual=self.usual.to(device),
        )


@dataclass(frozen=True, slots=True)
class FrameInference:
    """What the model says of B frames.

    x_hat:      (B, C, H, W) denoised, in the input's units, finite, missing pixels filled in.
    expected:   (B, C, H, W) what the score compares the frame with.
    score:      (B,) finite, higher = more anomalous; p_value: (B,) calibrated tail probability on normal frames.
    error_map:  (B, H, W) smoothed error, 1 = as far off as is normal at this pixel, or at any if it is a quiet one.
    share:      (B, C, H, W) each pixel's share of its frame's map, sums to 1.
    """

    x_hat: Float32
    expected: Float32
    score: Float64
    p_value: Float64
    error_map: Float32
    share: Float32

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True)
class Seen:
    """Frames, or parts of them, as the networks see them.

    x:         (B, C, H, W) normalised, clipped and filled in.
    observed:  where the input had a value; None if it had them all.
    usual:     broadcasts to x: the mean of normal frames there. What reconstructs is shown what is left beside it, so
               that of a scene that stays it has to learn only what changes.
    """

    x: Tensor
    observed: Tensor | None
    usual: Tensor

    @property
    def rest(self) -> Tensor:
        """What is not as usual."""
        return self.x - self.usual

    def part(self, rows: Rows) -> "Seen":
        """These rows of a whole batch."""
        observed = rows.cut(self.observed) if self.observed is not None else None
        # The same for all frames, or one for each.
        each = self.usual.ndim == self.x.ndim and len(self.usual) == len(self.x)
        usual = rows.cut(self.usual) if each else self.usual
        return Seen(rows.cut(self.x), observed, usual)


@dataclass(frozen=True, slots=True)
class ImageDetector:
    """Networks, score, threshold, denoiser, prior: all that a version is. Satisfies `flow.model.ServedModel`, a frame
    of C * H * W pixels being one sample.

    Safe to use from several threads at once: nothing in it changes.
    """

    channels: tuple[str, ...]
    network: ImageNetwork
    scoring: ImageScoring
    denoiser: ImageDenoiser
    lineage: Mapping[str, str] = field(default_factory=dict)
    identity: ModelIdentity = UNREGISTERED
    gives_codes: bool = False
    prior: LatentPrior | None = None
    drift_bins: DriftBins | None = None

    @property
    def frame(self) -> tuple[int, int, int]:
        """(C, H, W) of the frames."""
        return (len(self.channels), *self.network.tiling.frame)

    @property
    def window(self) -> int:
        """A frame is judged by itself."""
        return 1

    @property
    def lookahead(self) -> int:
        return 0

    @property
    def threshold(self) -> float:
        """A score above it is an anomaly; it is -log10 of the false-alarm rate that was asked for."""
        return self.scoring.threshold

    @property
    def start_threshold(self) -> float:
        """The same: a frame has no past."""
        return self.scoring.threshold

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of one frame's code: (Z,) or (Z, h, w), led by the number of tiles if a frame is more than one."""
        tiles = () if self.network.tiling.whole else (len(self.network.tiling.corners),)
        return (*tiles, *code_shape(self.network.config))

    @property
    def code_size(self) -> int:
        """Numbers in one frame's code."""
        return int(np.prod(self.code_shape))

    @property
    def choices(self) -> tuple[ChannelChoice, ...]:
        """Who cleans each channel, and why."""
        return self.denoiser.choices

    @property
    def generative(self) -> bool:
        """Whether the codes have a prior N(0, I) that `sample` can draw from."""
        return self.network.config.bottleneck != "deterministic"

    def with_identity(self, identity: ModelIdentity) -> "ImageDetector":
        """The same model under its registered name; shares all tensors."""
        return replace(self, identity=identity)

    def with_codes(self, wanted: bool = True) -> "ImageDetector":
        """The same model; `infer` gives the codes as well, flattened, if they are wanted."""
        return replace(self, gives_codes=wanted)

    def knowing(self, usual: Tensor) -> "ImageDetector":
        """The same model with this mean of normal frames, (C, H, W) in the network's units."""
        return replace(self, network=replace(self.network, usual=usual))

    def with_linear(self, linear: LinearPatch) -> "ImageDetector":
        """The same model with these linear components."""
        return replace(self, network=replace(self.network, linear=linear))

    def choosing(self, choices: Sequence[ChannelChoice]) -> "ImageDetector":
        """The same model, cleaning its channels so; shares all tensors. `training.images.choose` makes choices."""
        return replace(self, denoiser=replace(self.denoiser, choices=tuple(choices)))

    def remembering(self, bins: DriftBins) -> "ImageDetector":
        """The same model, knowing how its normal frames were spread; shares all tensors."""
        return replace(self, drift_bins=bins)

    def beside(self, denoiser: ImageDenoiser) -> "ImageDetector":
        """The same model with this denoiser, on the same device; shares all tensors."""
        return replace(self, denoiser=denoiser)

    def sampling(self, prior: LatentPrior) -> "ImageDetector":
        """The same model with this prior, on the same device; shares all tensors."""
        return replace(self, prior=prior)

    def to(self, device: str | torch.device) -> "ImageDetector":
        """The model on `device`. The networks' weights move, so do not use the old one any longer."""
        where = torch.device(device)
        parts = self.network.to(where), self.scoring.to(where), self.denoiser.to(where)
        prior = self.prior.to(where) if self.prior is not None else None
        return replace(self, network=parts[0], scoring=parts[1], denoiser=parts[2], prior=prior)

    def infer(self, windows: Float32) -> Inference:
        """Answer frames that lie as windows (B, C * H * W, 1), see `ServedModel.infer`."""
        pixels = int(np.prod(self.frame))
        if windows.ndim != 3 or windows.shape[1:] != (pixels, 1):
            raise ModelError(
                f"windows have shape {windows.shape}; model {self.identity.name} takes frames {self.frame}, "
                f"flattened to (B, {pixels}, 1)"
            )
        frames = windows.reshape(-1, *self.frame)
        found = self.infer_frames(frames)
        x_hat, expected, share = (part.reshape(-1, pixels) for part in (found.x_hat, found.expected, found.share))
        code = self.encode(frames).reshape(-1, self.code_size) if self.gives_codes else None
        return Inference(x_hat, found.score, found.p_value, share, code=code, expected=expected)

    def infer_frames(self, frames: Float32) -> FrameInference:
        """Answer frames (B, C, H, W), NaN = missing. The answer for a frame does not depend on the others."""
        self._check(frames)
        parts = [self._inferred(part) for part in self.parts(frames)] or [self._inferred(frames)]
        return FrameInference(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in FrameInference.__slots__)
        )

    def error_map(self, frames: Float32) -> Float32:
        """(B, H, W) where frames (B, C, H, W) are wrong: 1 = as far off as is normal at this pixel."""
        return self.infer_frames(frames).error_map

    def parts(self, frames: Float32) -> list[Float32]:
        """The frames a few at a time, so that memory does not grow with their number."""
        at_once = self._at_once(frames.shape[1:])
        return [frames[begin : begin + at_once] for begin in range(0, len(frames), at_once)]

    def errors(self, frames: Float32) -> Errors:
        """The errors before calibration, for `training.images.calibrate`; few enough frames at a time."""
        with torch.inference_mode():
            seen = self.seen(frames)
            return self.scoring.errors(seen.x, *self._expected(seen), seen.observed)

    def estimates(self, frames: Float32) -> tuple[Float32, Float32]:
        """What the autoencoder and the U-Net (without one: the autoencoder again) put for frames (B, C, H, W),
        whatever was chosen, in the input's units; for `training.images.choose`. Few enough frames at a time."""
        with torch.inference_mode():
            seen = self.seen(frames)
            autoencoder = self._restored(self._expected(seen)[0]).cpu().numpy()
            side = self.denoiser.side
            if side is None:
                return autoencoder, autoencoder
            unet = self._restored(self.network.tiling.mapped(side.answer, seen.x, seen.observed)).cpu().numpy()
        return autoencoder, np.where(np.isfinite(unet), unet, autoencoder)

    def encode(self, frames: Float32) -> Float32:
        """Frames (B, C, H, W) to codes (B, *code_shape)."""
        self._check(frames)
        network, tiling, codes = self.network, self.network.tiling, []
        with torch.inference_mode():
            for part in self.parts(frames):
                tiles = tiling.cut(self.seen(part).rest, tiling.corners)
                codes.append(network.autoencoder.encode(tiles).mode().cpu().numpy())
        found: Float32 = np.concatenate(codes or [np.empty((0, self.code_size), np.float32)])
        return found.reshape(-1, *self.code_shape)

    def latents(self, windows: Float32) -> Float32:
        """See `ServedModel.latents`: of codes, their mean over the places and the tiles of a frame."""
        codes = self.encode(windows.reshape(-1, *self.frame))
        tiles = 1 if self.network.tiling.whole else len(self.network.tiling.corners)
        return latents_of(codes.reshape(len(codes), tiles, self.network.config.latent, -1).mean((1, 3)))

    def decode(self, codes: Float32) -> Float32:
        """Codes as `encode` gives them to frames (B, C, H, W) in the input's units."""
        if codes.ndim < 2 or codes.shape[1:] != self.code_shape:
            raise ModelError(f"codes have shape {codes.shape}; this model's are (N, {self.code_shape})")
        frames = np.empty((len(codes), *self.frame), np.float32)
        at_once = self._at_once(self.frame)
        with torch.inference_mode():
            for begin in range(0, len(codes), at_once):
                part = np.require(codes[begin : begin + at_once], np.float32, ["C", "W"])
                z = torch.from_numpy(part).to(self.network.device).reshape(-1, *code_shape(self.network.config))
                x = self.network.tiling.joined(self.network.autoencoder.decode(z), len(part))
                frames[begin : begin + at_once] = self._restored(x + self.network.usual).cpu().numpy()
        return frames

    def sample(self, count: int, seed: int = 0, prior: PriorKind = "normal") -> Float32:
        """Frames (count, C, H, W) in the input's units, decoded from codes of N(0, I) or of the diffusion prior.

        Raises ModelError if the model has no such prior, ConfigError if `diffusers` is needed and not installed."""
        if prior == "diffusion" and self.prior is None:
            raise ModelError(
                "this model has no diffusion prior: train one with training.model conv2d-spatial and "
                "training.diffusion_steps above 0, or sample with prior='normal'"
            )
        if not self.generative:
            raise ModelError(
                "this model is not variational, so its codes have no prior to sample from: train one with "
                "training.model variational"
            )
        z = torch.randn((count, *self.code_shape), generator=torch.Generator().manual_seed(seed))
        if prior == "diffusion" and self.prior is not None and count:
            parts = torch.split(z.to(self.network.device), self._at_once(self.frame))
            z = torch.cat([self.prior.denoised(part) for part in parts]).cpu()
        return self.decode(z.numpy())

    def seen(self, frames: Float32, usual: Tensor | None = None) -> Seen:
        """Frames (B, C, H, W) on the model's device, as its networks see them; `usual`: of parts of frames (default: of
        whole ones)."""
        given = torch.from_numpy(np.require(frames, np.float32, ["C", "W"])).to(self.network.device)
        missing = torch.isnan(given)
        normaliser = self.network.normaliser
        low, high, centre, scale = (
            value[..., None] for value in (normaliser.low, normaliser.high, normaliser.centre, normaliser.scale)
        )
        x = ((given.clamp(low, high) - centre) / scale).clamp(-CLIP, CLIP)
        usual = self.network.usual if usual is None else usual
        if not bool(missing.any()):
            return Seen(x, None, usual)
        return Seen(torch.where(missing, usual, x), ~missing, usual)

    def _inferred(self, frames: Float32) -> FrameInference:
        with torch.inference_mode():
            seen = self.seen(frames)
            network, linear = self._expected(seen)
            views = self.scoring.views(self.scoring.errors(seen.x, network, linear, seen.observed))
            expected = self._restored(network)
            x_hat = self._cleaned(frames, seen, expected)
            score = self.scoring.score(views)
            return FrameInference(
                x_hat=x_hat.cpu().numpy(),
                expected=expected.cpu().numpy(),
                score=score,
                p_value=np.power(10.0, -score),
                error_map=views.map.mean(1).cpu().numpy(),
                share=shares(views.map).reshape(frames.shape),
            )

    def _expected(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) what the network puts for frames, the components for softened ones, normalised, finite."""
        network, linear = self._once(seen.x)
        if seen.observed is None:
            return network, linear
        # A missing pixel that stays at its usual value bends what surrounds it; what was put for it bends less.
        better = self._once(torch.where(seen.observed, seen.x, network))[0]
        return better, self._once(torch.where(seen.observed, seen.x, linear))[1]

    def _once(self, x: Tensor) -> tuple[Tensor, Tensor]:
        own = self.network
        rest, usual = x - own.usual, own.usual[None]
        linear = blurred(usual, SOFT) + own.tiling.mapped(own.linear.answer, blurred(rest, SOFT), None)
        network = usual + own.tiling.mapped(own.reconstructed, rest, None)
        return torch.where(torch.isfinite(network), network, linear), linear

    def _cleaned(self, frames: Float32, seen: Seen, expected: Tensor) -> Tensor:
        side = self.denoiser.asked(seen.observed)
        unet = None
        if side is not None:
            unet = self._restored(self.network.tiling.mapped(side.answer, seen.x, seen.observed))
        given = torch.from_numpy(np.require(frames, np.float32, ["C", "W"])).to(self.network.device)
        return self.denoiser.cleaned(given, seen.observed, expected, unet)

    def _restored(self, x: Tensor) -> Tensor:
        normaliser = self.network.normaliser
        return x * normaliser.scale[..., None] + normaliser.centre[..., None]

    def _at_once(self, frame: tuple[int, ...]) -> int:
        return max(PIXELS_AT_ONCE // int(np.prod(frame)), 1)

    def _check(self, frames: Float32) -> None:
        if frames.ndim != 4 or frames.shape[1:] != self.frame:
            raise ModelError(f"frames have shape {frames.shape}; model {self.identity.name} takes (B, {self.frame})")

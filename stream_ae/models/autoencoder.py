"""Encoder, bottleneck and decoder, composed."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stream_ae.models.blocks import ConvDecoder, ConvEncoder, DenseDecoder, DenseEncoder
from stream_ae.models.bottleneck import Deterministic, Posterior, Variational
from stream_ae.models.config import ArchitectureConfig, BottleneckKind, ConvConfig, DenseConfig
from stream_ae.models.rows import Rows


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """x_hat (B, C, T) and the posterior that it was decoded from."""

    x_hat: Tensor
    posterior: Posterior


class Autoencoder(nn.Module):
    """Windows (B, C, T) in the network's units, there and back."""

    def __init__(
        self,
        encoder: DenseEncoder | ConvEncoder,
        bottleneck: Deterministic | Variational,
        decoder: DenseDecoder | ConvDecoder,
    ) -> None:
        super().__init__()
        self.encoder, self.bottleneck, self.decoder = encoder, bottleneck, decoder

    def encode(self, x: Tensor) -> Posterior:
        posterior: Posterior = self.bottleneck(self.encoder(x))
        return posterior

    def decode(self, z: Tensor, first: int = 0, end: int | None = None) -> Tensor:
        """Samples [first, end) of the windows that the codes stand for."""
        x_hat: Tensor = self.decoder(z, first, end)
        return x_hat

    def forward(self, x: Tensor, generator: torch.Generator | None = None, rows: Rows | None = None) -> Reconstruction:
        posterior = self.encode(x)
        return Reconstruction(self.decode(posterior.sample(generator, rows)), posterior)


def build(config: ArchitectureConfig) -> Autoencoder:
    """The network that a configuration describes, with fresh weights from torch's global generator."""
    C, T, Z = config.channels, config.window, config.latent
    encoder: DenseEncoder | ConvEncoder
    decoder: DenseDecoder | ConvDecoder
    match config:
        case DenseConfig():
            encoder = DenseEncoder(C, T, config.hidden)
            decoder = DenseDecoder(C, T, config.hidden[::-1], Z)
        case ConvConfig():
            encoder = ConvEncoder(C, T, config.widths, config.kernel)
            decoder = ConvDecoder(C, T, config.widths[::-1], config.kernel, Z)
    return Autoencoder(encoder, _bottleneck(config.bottleneck, encoder.features, Z), decoder)


def _bottleneck(kind: BottleneckKind, features: int, latent: int) -> Deterministic | Variational:
    return Variational(features, latent) if kind == "variational" else Deterministic(features, latent)

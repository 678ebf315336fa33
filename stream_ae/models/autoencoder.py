"""Encoder, bottleneck and decoder, composed."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stream_ae.models.blocks import DenseDecoder, DenseEncoder
from stream_ae.models.bottleneck import Deterministic, Posterior
from stream_ae.models.config import ArchitectureConfig, DenseConfig


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """x_hat (B, C, T) and the posterior that it was decoded from."""

    x_hat: Tensor
    posterior: Posterior


class Autoencoder(nn.Module):
    """Windows (B, C, T) in the network's units, there and back."""

    def __init__(self, encoder: DenseEncoder, bottleneck: Deterministic, decoder: DenseDecoder) -> None:
        super().__init__()
        self.encoder, self.bottleneck, self.decoder = encoder, bottleneck, decoder

    def encode(self, x: Tensor) -> Posterior:
        posterior: Posterior = self.bottleneck(self.encoder(x))
        return posterior

    def decode(self, z: Tensor, first: int = 0, end: int | None = None) -> Tensor:
        """Samples [first, end) of the windows that the codes stand for."""
        x_hat: Tensor = self.decoder(z, first, end)
        return x_hat

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Reconstruction:
        posterior = self.encode(x)
        return Reconstruction(self.decode(posterior.sample(generator)), posterior)


def build(config: ArchitectureConfig) -> Autoencoder:
    """The network that a configuration describes, with fresh weights from torch's global generator."""
    match config:
        case DenseConfig():
            encoder = DenseEncoder(config.channels, config.window, config.hidden)
            bottleneck = Deterministic(encoder.features, config.latent)
            decoder = DenseDecoder(config.channels, config.window, config.hidden[::-1], config.latent)
            return Autoencoder(encoder, bottleneck, decoder)

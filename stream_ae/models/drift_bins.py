"""Drift bins in and out of `config.json`."""

from stream_ae.marginals import DriftBins, Marginal, Marginals
from stream_ae.models.config import DriftBinsConfig, MarginalConfig


def bins_of(config: DriftBinsConfig | None) -> DriftBins | None:
    """What a configuration says of them."""
    return None if config is None else DriftBins(_marginals(config.inputs), _marginals(config.latents))


def bins_config(bins: DriftBins | None) -> DriftBinsConfig | None:
    """How a configuration says it."""
    return None if bins is None else DriftBinsConfig(inputs=_configs(bins.inputs), latents=_configs(bins.latents))


def _marginals(configs: tuple[MarginalConfig, ...]) -> Marginals:
    return Marginals(tuple(Marginal(one.name, one.edges, one.shares, one.usual) for one in configs))


def _configs(marginals: Marginals) -> tuple[MarginalConfig, ...]:
    return tuple(
        MarginalConfig(name=one.name, edges=one.edges, shares=one.shares, usual=one.usual) for one in marginals.each
    )
